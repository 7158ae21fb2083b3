//! Puts the page's sources into one document, which becomes part of the program.

#[path = "src/page/inline.rs"]
mod inline;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("page");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=src/page/inline.rs");
    let mut sources = inline::Sources::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if inline::is_source(&name) {
            println!("cargo::rerun-if-changed={}", path.display());
            sources.insert(name, fs::read_to_string(&path)?);
        }
    }
    let inlined = match inline::inline(&sources) {
        Ok(inlined) => inlined,
        Err(wrong) => {
            println!("cargo::error=gateway/page/{wrong}");
            return Ok(());
        }
    };
    let made = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(made.join("page.html"), &inlined.html)?;
    let list = |hashes: &[String]| {
        let items: Vec<String> = hashes.iter().map(|hash| format!("{hash:?}.to_owned()")).collect();
        format!("vec![{}]", items.join(", "))
    };
    let code = format!(
        "pub(super) fn page() -> super::Inlined {{\n    super::Inlined {{\n        html: \
         include_str!(\"page.html\").to_owned(),\n        scripts: {},\n        styles: {},\n    }}\n}}\n",
        list(&inlined.scripts),
        list(&inlined.styles)
    );
    fs::write(made.join("page.rs"), code)?;
    Ok(())
}
