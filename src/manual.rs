//! `taciturn man` and `taciturn completions`: manual pages and completions, made from the command line that was built.
//!
//! Responsible for the pages' sections. Not for their words, which are the help texts of `cli`, nor for where they are
//! installed, which packages decide.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, CompletionsOptions, ManOptions};

/// The chapter of user commands.
const CHAPTER: &str = "1";
/// Where more is to be read, under every page.
const MORE: &str = "The pages for operators and for signalling servers: docs in the sources, and /usr/share/doc/taciturn/docs \
                    where a package put them.";

/// Writes a page for the program and for each of its commands, and says which.
pub(crate) fn pages(options: &ManOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let place = &options.out;
    fs::create_dir_all(place).with_context(|| format!("{} cannot be made", place.display()))?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    page(&program, None, place, out)
}

/// Prints what the shell reads to complete this command.
///
/// All of it at once, and not while it is made: whoever makes it cannot be told that nobody reads on.
pub(crate) fn completions(options: &CompletionsOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "taciturn", &mut script);
    out.write_all(&script)?;
    Ok(())
}

/// The page of one command, and those of the commands below it. `above` is the name of the page above it.
fn page(
    command: &Command,
    above: Option<&str>,
    place: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let file = place.join(format!("{name}.{CHAPTER}"));
    let text = rendered(command, &name, above)?;
    fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    writeln!(out, "{}", file.display())?;
    for below in shown(command) {
        page(below, Some(&name), place, out)?;
    }
    Ok(())
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|each| !each.is_hide_set())
}

fn rendered(command: &Command, name: &str, above: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        // What stands in the middle of the foot is a date elsewhere; the same sources give the same page here.
        .date(concat!("taciturn ", env!("CARGO_PKG_VERSION")))
        .source("Taciturn")
        .manual("Taciturn's manual");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if shown(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::default();
    if let Some(words) = command.get_after_help() {
        sections(&words.to_string(), &mut rest);
    }
    see_also(command, name, above, &mut rest);
    rest.to_writer(&mut text)?;
    Ok(text)
}

/// What stands below a help text: a section for each headed list, and NOTES for what has no heading.
fn sections(words: &str, page: &mut Roff) {
    for block in words.split("\n\n") {
        let mut lines = block.lines();
        let heading = match lines.next().and_then(|line| line.strip_suffix(':')) {
            Some("Exit codes") => "EXIT STATUS".to_owned(),
            Some(other) => other.to_uppercase(),
            None => {
                page.control("SH", ["NOTES"]).text([roman(block)]);
                continue;
            }
        };
        page.control("SH", [heading.as_str()]);
        for line in lines {
            entry(line.trim(), page);
        }
    }
}

/// A line of such a list: a number and what it means, or a line to type.
fn entry(line: &str, page: &mut Roff) {
    match line.split_once("  ") {
        Some((number, meaning)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            page.control("TP", ["4"])
                .text([bold(number)])
                .text([roman(meaning.trim())]);
        }
        _ => {
            page.control("PP", [])
                .control("EX", [])
                .text([roman(line)])
                .control("EE", []);
        }
    }
}

/// The page above, the pages below, and the documentation.
fn see_also(command: &Command, name: &str, above: Option<&str>, page: &mut Roff) {
    let below = shown(command).map(|each| format!("{name}-{}", each.get_name()));
    let names: Vec<String> = above.map(str::to_owned).into_iter().chain(below).collect();
    page.control("SH", ["SEE ALSO"]);
    let count = names.len();
    for (at, each) in names.iter().enumerate() {
        let comma = if at + 1 < count { "," } else { "" };
        page.text([bold(each), roman(format!("({CHAPTER}){comma}"))]);
    }
    page.control("PP", []).text([roman(MORE)]);
}
