//! Times, figures and lines of text, as a terminal shows them.
//!
//! Not responsible for what they are about.

/// "42 s", "9 min 40 s", "3 h 5 min", "2 d 4 h".
pub(super) fn lasting(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let from = parts.iter().position(|(count, _)| *count > 0);
    let Some(from) = from else {
        return "0 s".to_owned();
    };
    let shown = parts
        .iter()
        .skip(from)
        .take(2)
        .filter(|(count, _)| *count > 0);
    let words: Vec<String> = shown
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    words.join(" ")
}

/// Whole seconds of a float that came over the network.
pub(super) fn whole(seconds: f64) -> u64 {
    let seconds = seconds.round().clamp(0.0, 1e12);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within these bounds; what is no number becomes zero"
    )]
    let seconds = seconds as u64;
    seconds
}

/// The time of day, UTC.
pub(super) fn of_day(unix: u64) -> String {
    let (hour, minute, second) = (unix / 3_600 % 24, unix / 60 % 60, unix % 60);
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// Few digits.
pub(super) fn figure(value: f64) -> String {
    if value.fract().abs() < 1e-9 || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Without what a terminal would obey: a relay's own words can be anything.
pub(super) fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// Lines of at most `width` characters, those after the first indented; a word that is longer is cut up.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(indent + 8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in plain(text).split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && line.trim_start().is_empty() {
            // Nothing but the indent stands here.
        } else if used > 0 && used + 1 + rest.len() <= width {
            line.push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
        }
        while used + rest.len() > width {
            let taken: String = rest.drain(..width - used).collect();
            line.push_str(&taken);
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
        }
        used += rest.len();
        line.extend(rest);
    }
    if !line.trim().is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// The course of a figure in this many characters, each the greatest of its time.
pub(super) fn course(values: &[Option<f64>], most: f64, width: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = width.min(values.len());
    (0..width)
        .map(|at| {
            let from = at * values.len() / width;
            let to = ((at + 1) * values.len() / width).max(from + 1);
            let known = values.iter().take(to).skip(from).flatten();
            let Some(greatest) = known.copied().reduce(f64::max) else {
                return ' ';
            };
            let share = if most > 0.0 { greatest / most } else { 0.0 };
            let level = usize::try_from(whole(share * 7.0)).unwrap_or(0);
            LEVELS.get(level.min(7)).copied().unwrap_or(' ')
        })
        .collect()
}

/// "1 allocation", "2 allocations".
pub(super) fn allocations(count: impl std::fmt::Display) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} allocation{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_say_them() {
        for (seconds, words) in [
            (0, "0 s"),
            (42, "42 s"),
            (580, "9 min 40 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (11_100, "3 h 5 min"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(lasting(seconds), words);
        }
    }

    #[test]
    fn text_is_wrapped_at_words_and_never_wider() {
        let lines = wrapped("one two three four five", 12, 2);
        assert_eq!(lines, ["one two", "  three four", "  five"]);
        let long = wrapped(&"x".repeat(50), 20, 4);
        assert!(
            long.iter().all(|line| line.chars().count() <= 20),
            "{long:?}"
        );
        let joined: String = long.iter().map(|line| line.trim()).collect();
        assert_eq!(joined.len(), 50);
        assert_eq!(wrapped("", 20, 0), [""]);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert!(
            !plain("a\u{1b}[2Jb\u{9b}2Jc\rd")
                .chars()
                .any(char::is_control)
        );
    }

    #[test]
    fn a_course_shows_the_greatest_of_each_time_and_gaps_where_nothing_is_known() {
        let values = [Some(0.0), Some(8.0), None, None, Some(4.0), Some(2.0)];
        assert_eq!(course(&values, 8.0, 3), "█ ▅");
        assert_eq!(course(&values, 8.0, 60).chars().count(), 6);
        assert_eq!(course(&[], 8.0, 60), "");
        assert_eq!(course(&[Some(f64::NAN)], 0.0, 9), "▁");
    }
}
