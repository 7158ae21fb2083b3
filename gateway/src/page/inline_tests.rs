//! What the inliner makes of sources, and what it refuses.

use super::inline::{Inlined, Sources, inline};

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn with_main(files: &[(&str, &str)]) -> Result<Inlined, String> {
    let index = ("index.html", "<script type=\"module\" src=\"main.js\"></script>\n");
    inline(&sources(&[&[index], files].concat())).map_err(|error| error.to_string())
}

#[test]
fn modules_stand_in_the_order_of_their_imports_each_once() {
    let page = with_main(&[
        ("main.js", "import { b } from \"./b.js\";\nimport { a } from \"./a.js\";\na(b);\n"),
        ("b.js", "import { a } from \"./a.js\";\nexport const b = a(1);\nlet own = 2;\n"),
        ("a.js", "// What it does.\n\nexport function a(x) {\n    return x;\n}\n"),
    ]);
    let expected = "<script type=\"module\">const a$js = (() => {\nfunction a(x) {\nreturn x;\n}\nreturn { a };\n})();\n\
         const b$js = (() => {\nconst { a } = a$js;\nconst b = a(1);\nlet own = 2;\nreturn { b };\n})();\n\
         const main$js = (() => {\nconst { b } = b$js;\nconst { a } = a$js;\na(b);\nreturn {  };\n})();\n</script>\n";
    assert_eq!(page.unwrap().html, expected);
}

#[test]
fn styles_stand_together_and_hashes_are_those_of_the_content() {
    let index = "<head>\n<link rel=\"stylesheet\" href=\"a.css\">\n<link rel=\"stylesheet\" href=\"b.css\">\n</head>\n";
    let page =
        inline(&sources(&[("index.html", index), ("a.css", "p {\n"), ("b.css", "    color: red;\n\n}")]))
            .unwrap();
    assert_eq!(page.html, "<head>\n<style>p {\ncolor: red;\n}\n</style>\n</head>\n");
    // printf 'p {\ncolor: red;\n}\n' | openssl dgst -sha256 -binary | base64
    assert_eq!(page.styles, ["'sha256-W7US5rEGoMixQILPWAts1YmOVmcKPhkYIWHCflwdnU0='"]);
    assert_eq!(page.scripts, Vec::<String>::new());
}

#[test]
fn whatever_else_is_an_error_with_its_place() {
    let shape = "an import must read `import { a, b } from \"./x.js\";`";
    let export = "an export must be a function, a class or a const with a plain name";
    let top = "modules are imported at their top, and know no address of their own";
    let a = ("a.js", "export const a = 1;\n");
    for (main, expected) in [
        ("import a from \"./a.js\";", format!("main.js:1: {shape}")),
        ("\nimport { a } from \"a.js\";", format!("main.js:2: {shape}")),
        ("import * as a from \"./a.js\";", format!("main.js:1: {shape}")),
        ("import { a } from './a.js';", format!("main.js:1: {shape}")),
        ("import \"./a.js\";", format!("main.js:1: {shape}")),
        (
            "import { a as b } from \"./a.js\";",
            "main.js:1: \"a as b\" is not a name that can be imported".into(),
        ),
        ("import { b } from \"./a.js\";", "main.js:1: a.js does not export b".into()),
        ("import { b } from \"./b.js\";", "main.js:1: there is no file b.js".into()),
        ("import { x } from \"./main.js\";", "main.js:1: main.js imports this file in its turn".into()),
        ("import { a } from \"./a.js\";\nconst a = 2;", "main.js:2: the name a is taken here already".into()),
        ("let b = 1;\nfunction b() {}", "main.js:2: the name b is taken here already".into()),
        ("export default 1;", format!("main.js:1: {export}")),
        ("export let b = 1;", format!("main.js:1: {export}")),
        ("export const { b } = {};", format!("main.js:1: {export}")),
        ("export { b };", format!("main.js:1: {export}")),
        ("const b = await import(\"./a.js\");", format!("main.js:1: {top}")),
        ("const b = `x", "main.js:1: a template must end on the line where it begins".into()),
        ("const b = \"</script>\";", "index.html:1: what it names would end the element `script`".into()),
        ("const b = 1;", "a.js:1: nothing names this file: take it out, or import it".into()),
    ] {
        assert_eq!(with_main(&[("main.js", main), a]).unwrap_err(), expected, "{main}");
    }
    assert_eq!(inline(&Sources::new()).unwrap_err().to_string(), "index.html:1: is missing");
}
