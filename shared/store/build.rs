//! New migration files must make the crate that embeds them compile again.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
