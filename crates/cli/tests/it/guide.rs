//! The pages of the guide are sessions: their files are written, their commands are typed, and what comes out must be what they show.
//!
//! With `MILLSTREAM_GUIDE=accept` the pages are given what came out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::{text, write};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide");

/// A fenced block of a page: the words behind its fence, and its lines.
struct Block<'a> {
    language: &'a str,
    /// The file that it is; of a console, `fails` if what is typed there is meant to fail.
    word: Option<&'a str>,
    lines: Vec<&'a str>,
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = std::fs::read_dir(GUIDE).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    pages
}

/// Lines that count: the console sink puts blank ones between batches.
fn lines_that_count(text: &str) -> Vec<String> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Types a command as a reader would. A page that shows an error must mean it.
fn typed(command: &str, fails: bool, dir: &Path) -> Vec<String> {
    let binary = Path::new(env!("CARGO_BIN_EXE_millstream")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    // Backticks are SQL's here, not the shell's.
    let command = command.replace('`', "\\`");
    let output = Command::new("sh").args(["-c", &command]).current_dir(dir).env("PATH", path).env("TZ", "UTC").output().unwrap();
    assert_ne!(output.status.success(), fails, "{command}: {}", text(&output));
    lines_that_count(&text(&output))
}

/// The page with what its commands give, in a new folder.
fn played(page: &str, dir: &Path) -> String {
    let mut out = String::new();
    let mut block: Option<Block<'_>> = None;
    for line in page.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, None) => {}
            (None, Some(info)) => {
                let mut words = info.split_whitespace();
                block = Some(Block { language: words.next().unwrap_or_default(), word: words.next(), lines: Vec::new() });
            }
            (Some(open), None) => {
                open.lines.push(line);
                if open.language == "console" {
                    if !line.starts_with("$ ") {
                        continue;
                    }
                    out.push_str(line);
                    out.push('\n');
                    typed(&line[2..], open.word == Some("fails"), dir).iter().for_each(|shown| out.extend([shown, "\n"]));
                    continue;
                }
            }
            (Some(closed), Some(_)) => {
                if let Some(file) = closed.word.filter(|_| closed.language != "console") {
                    write(&dir.join(file), closed.lines.join("\n") + "\n");
                }
                block = None;
            }
        }
        out.push_str(line);
        out.push('\n');
    }
    assert!(block.is_none(), "a block without end");
    out
}

/// The page with the rows of each table in order: which task gives its rows first hangs on the number of cores.
fn ordered(page: &str) -> String {
    let mut lines: Vec<&str> = page.lines().collect();
    lines.chunk_by_mut(|a, b| a.starts_with('|') && b.starts_with('|')).for_each(<[_]>::sort_unstable);
    lines.join("\n")
}

#[test]
fn every_page_shows_what_its_commands_give() {
    let mut n_commands = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let played = played(&page, dir.path());
        n_commands += played.lines().filter(|line| line.starts_with("$ ")).count();
        if ordered(&page) != ordered(&played) && std::env::var("MILLSTREAM_GUIDE").is_ok_and(|told| told == "accept") {
            std::fs::write(&path, &played).unwrap();
            continue;
        }
        let (page, played) = (ordered(&page), ordered(&played));
        let differs = page.lines().zip(played.lines()).find(|(shown, came)| shown != came);
        assert_eq!(differs, None, "{} (MILLSTREAM_GUIDE=accept writes what came out)", path.display());
        assert_eq!(page.lines().count(), played.lines().count(), "{}", path.display());
    }
    assert!(n_commands > 10, "only {n_commands} commands: are the pages there?");
}
