//! Files of processes that are no longer alive: mended and given their last name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::current::{self, CURRENT};

/// How much is read at once while looking for the last line's beginning.
const CHUNK: usize = 64 << 10;

/// Mends every file in `dir` that was being written by a process which is gone.
///
/// One that cannot be mended is reported and left; the others are still done.
pub(super) fn mend_all(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !path.to_string_lossy().ends_with(CURRENT) {
            continue;
        }
        if let Err(error) = mend(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot mend this file");
        }
    }
    Ok(())
}

fn mend(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    // a locked file is being written by a living process; one that moved was mended by another
    if !current::lock(&file)? || !current::is_at(&file, path)? {
        return Ok(());
    }
    let bytes = file.metadata()?.len();
    let whole = whole_lines_bytes(&file, bytes)?;
    if whole < bytes {
        keep_torn(&mut file, whole, path)?;
        file.set_len(whole)?;
        file.sync_all()?;
        tracing::warn!(
            path = %path.display(),
            bytes = bytes - whole,
            "cut off a torn last line; its delivery comes again"
        );
    }
    match whole {
        0 => fs::remove_file(path),
        _ => current::finish(path),
    }
}

/// How many of the file's bytes are whole lines.
fn whole_lines_bytes(file: &File, bytes: u64) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut end = bytes;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let part = &mut chunk[..usize::try_from(end - begin).expect("a chunk at most")];
        file.read_exact_at(part, begin)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Copies what is behind the last whole line beside the file.
fn keep_torn(file: &mut File, from: u64, path: &Path) -> io::Result<()> {
    let mut name = current::done_path(path).into_os_string();
    name.push(".torn");
    let mut torn = File::create(name)?;
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut Read::by_ref(file), &mut torn)?;
    torn.flush()?;
    torn.sync_all()
}
