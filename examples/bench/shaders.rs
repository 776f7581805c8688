//! `--shaders`: the kernels as files, for tools that show what the compiler of a GPU makes of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes every kernel that ships to a folder. The first line of each file says how it is compiled.
pub fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let shaders = wgpu_rnn::shaders();
    for shader in &shaders {
        let constants: Vec<_> = shader.constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("// entry {}; {}\n{}", shader.entry_point, constants.join(" "), shader.source);
        let path = folder.join(format!("{}.wgsl", shader.name));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("wrote {} kernels to {}", shaders.len(), folder.display());
    Ok(())
}
