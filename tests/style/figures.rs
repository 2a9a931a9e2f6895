//! Published figures are those of a run whose page is here.
//!
//! Responsible for comparing the tables that pages copy with the page of results that they name. Not responsible for the
//! figures themselves.

const BEGIN: &str = "<!-- figures: ";
const END: &str = "<!-- end -->";

/// The page that a text says its figures are from, and the lines of tables between the marks.
fn copied(text: &str) -> Option<(&str, Vec<&str>)> {
    let (_, after) = text.split_once(BEGIN)?;
    let (source, rest) = after.split_once(" -->")?;
    let (block, _) = rest.split_once(END)?;
    let lines = block.lines().filter(|line| line.starts_with('|'));
    Some((source, lines.collect()))
}

/// Lines of tables that the page of results does not hold.
fn strange<'a>(lines: &[&'a str], results: &str) -> Vec<&'a str> {
    let known: Vec<&str> = results.lines().collect();
    let strange = lines.iter().filter(|line| !known.contains(line));
    strange.copied().collect()
}

#[test]
fn figures_on_pages_are_those_of_the_results_that_they_name() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let page = read("docs/performance.md");
    let (source, lines) = copied(&page).expect("the page has a block of figures");
    assert!(!lines.is_empty(), "the block holds a table");
    assert_eq!(
        strange(&lines, &read(source)),
        Vec::<&str>::new(),
        "copy the tables from {source}"
    );
}

#[test]
fn a_changed_figure_is_found() {
    let page =
        "text\n<!-- figures: README.md -->\n| x | 1 |\nnote\n| y | 2 |\n<!-- end -->\n| z | 3 |\n";
    let (source, lines) = copied(page).expect("marked");
    assert_eq!(
        (source, lines.as_slice()),
        ("README.md", &["| x | 1 |", "| y | 2 |"][..])
    );
    assert_eq!(strange(&lines, "| y | 2 |\n| x | 1.5 |"), ["| x | 1 |"]);
    assert_eq!(copied("no marks"), None);
}
