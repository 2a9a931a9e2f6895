//! The overview as lines of text, for a terminal of any width.
//!
//! States are words with a shape before them; colours only go with both. Not responsible for the terminal (`screen`).

use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use taciturn_controller::overview::{Condition, Overview, Zone};

use super::words::{
    allocations as counted_allocations, course, figure, lasting, of_day, plain, whole, wrapped,
};

/// From this width on what is needed stands beside where it is.
const WIDE: usize = 110;
/// Decisions that are shown.
const DECISIONS: usize = 6;
/// What is shown is called old when the last answer was longer ago than this.
const OLD: Duration = Duration::from_secs(6);

/// What is shown.
pub(super) struct Page<'a> {
    /// The latest that was heard.
    pub(super) overview: &'a Overview,
    /// Since then.
    pub(super) passed: Duration,
    /// Why the question after it had no answer.
    pub(super) failure: Option<&'a str>,
    /// Columns.
    pub(super) width: usize,
    /// Whether colours may be used.
    pub(super) colour: bool,
}

impl Page<'_> {
    /// All of it, from the top.
    pub(super) fn lines(&self) -> Vec<Line<'static>> {
        let mut lines = self.head();
        lines.extend(self.notices());
        lines.push(Line::default());
        if self.width >= WIDE {
            let half = self.width / 2 - 2;
            let left: Vec<_> = [self.need(half), self.loads(half)].concat();
            lines.extend(beside(left, self.zones(half), half + 3));
        } else {
            lines.extend(self.need(self.width));
            lines.extend(self.zones(self.width));
            lines.extend(self.loads(self.width));
        }
        lines.extend(self.drains());
        lines.extend(self.relays());
        lines.extend(self.decisions());
        // Columns of tables end where the terminal does; sentences were wrapped before.
        for line in &mut lines {
            cut(line, self.width);
        }
        lines
    }

    fn paint(&self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn bold(&self, colour: Color) -> Style {
        self.paint(colour).add_modifier(Modifier::BOLD)
    }

    fn title(words: &str) -> Line<'static> {
        Line::styled(words.to_owned(), Style::new().add_modifier(Modifier::BOLD))
    }

    fn head(&self) -> Vec<Line<'static>> {
        let overview = self.overview;
        let age = whole(overview.age_seconds + self.passed.as_secs_f64());
        let seen = format!(
            "seen {} ago, {} UTC",
            lasting(age),
            of_day(overview.time.as_secs())
        );
        let name = format!(
            "taciturn {}  fleet {}",
            plain(&overview.version),
            plain(&overview.fleet)
        );
        let gap = self
            .width
            .saturating_sub(name.chars().count() + seen.chars().count());
        let (mark, colour) = condition(overview.condition);
        let word = overview.condition.as_str().to_uppercase();
        let mut lines = vec![Line::from(format!(
            "{name}{}{seen}",
            " ".repeat(gap.max(2))
        ))];
        let mut sentence = wrapped(
            &overview.headline,
            self.width.saturating_sub(word.len() + 4),
            0,
        )
        .into_iter();
        let mut first = vec![Span::styled(format!("{mark} {word}  "), self.bold(colour))];
        first.extend(sentence.next().map(Span::raw));
        lines.push(Line::from(first));
        lines.extend(sentence.map(Line::from));
        lines
    }

    fn notices(&self) -> Vec<Line<'static>> {
        let overview = self.overview;
        let mut lines = Vec::new();
        let mut say = |mark: &str, kind: &str, words: &str, colour: Color| {
            let text = format!("{mark} {kind}: {words}");
            let style = self.bold(colour);
            let text = wrapped(&text, self.width, 2).into_iter();
            lines.extend(text.map(|line| Line::styled(line, style)));
        };
        if let Some(failure) = self.failure.filter(|_| self.passed > OLD) {
            let old = format!(
                "last heard {} ago ({failure}). Calls are not affected: relays carry them",
                lasting(self.passed.as_secs())
            );
            say("✕", "what is shown is old", &old, Color::Red);
        }
        if overview.dry_run {
            say(
                "‖",
                "dry run",
                "nothing is launched, drained or ended",
                Color::Yellow,
            );
        }
        if overview.condition == Condition::Standby {
            say("‖", "standby", &overview.leadership.words, Color::Yellow);
        }
        for alarm in &overview.alarms {
            let relay = alarm
                .relay
                .as_ref()
                .map_or_else(String::new, |id| format!("{id}: "));
            let kind = format!("alarm, {}", alarm.kind.replace('_', " "));
            say("✕", &kind, &format!("{relay}{}", alarm.words), Color::Red);
        }
        for brake in &overview.brakes {
            if brake.kind == "not_leading" && overview.condition == Condition::Standby {
                continue;
            }
            let kind = if brake.kind == "just_started" {
                "held back"
            } else {
                "frozen"
            };
            let words = format!("nothing is taken away: {}", brake.words);
            say("‖", kind, &words, Color::Yellow);
        }
        lines
    }

    fn need(&self, width: usize) -> Vec<Line<'static>> {
        let (need, totals) = (&self.overview.need, &self.overview.totals);
        let mut lines = vec![Self::title("Need")];
        let relays = format!(
            "  {} needed, {} here or on their way, {} to {} allowed; new calls go to {} of {}",
            need.need, need.have, need.min, need.max, totals.offered, totals.relays
        );
        lines.extend(wrapped_lines(&relays, width));
        let reasons: Vec<String> = need
            .reasons
            .iter()
            .map(|reason| {
                let decides = if reason.decides { " (decides)" } else { "" };
                format!(
                    "{} {}{decides}",
                    plain(&reason.reason).replace('_', " "),
                    reason.relays
                )
            })
            .collect();
        lines.extend(wrapped_lines(&format!("  {}", reasons.join(", ")), width));
        lines
    }

    /// What is asked of what there is, now and before.
    fn loads(&self, width: usize) -> Vec<Line<'static>> {
        let overview = self.overview;
        let mut lines = vec![Self::title("Load")];
        for line in &overview.loads {
            let (unit, factor) = unit(&line.dimension);
            let value = |value: f64| figure(value * factor);
            let share = line
                .share
                .map_or_else(String::new, |share| format!("  {:.0} %", share * 100.0));
            let decides = if line.decides { " (decides)" } else { "" };
            let demand = line.demand.map_or_else(|| "not known".to_owned(), value);
            let of = match line.capacity {
                Some(capacity) => format!(" of {} {unit}", value(capacity))
                    .trim_end()
                    .to_owned(),
                None if unit.is_empty() => ", capacity not known".to_owned(),
                None => format!(" {unit}, capacity not known"),
            };
            let text = format!(
                "  {:<11} {demand}{of}{share}{decides}",
                plain(&line.dimension)
            );
            lines.push(Line::from(text.chars().take(width).collect::<String>()));
        }
        let decides = overview.loads.iter().find(|line| line.decides);
        let line = decides.or_else(|| overview.loads.iter().find(|line| line.share.is_some()));
        let Some(line) = line else {
            lines.push(Line::from("  not known yet"));
            return lines;
        };
        let empty = Vec::new();
        let chart = &overview.chart;
        let demand = chart.demand.get(&line.dimension).unwrap_or(&empty);
        let capacity = chart.capacity.get(&line.dimension).unwrap_or(&empty);
        let both = demand.iter().chain(capacity).flatten().copied();
        let most = both.fold(0.0, f64::max);
        let room = width.saturating_sub(14).min(72);
        for (name, values, colour) in [
            ("demand", demand, Color::Cyan),
            ("capacity", capacity, Color::Reset),
        ] {
            lines.push(Line::from(vec![
                Span::raw(format!("  {name:<11} ")),
                Span::styled(course(values, most, room), self.paint(colour)),
            ]));
        }
        if let (Some(from), Some(to)) = (chart.times.first(), chart.times.last()) {
            let span = lasting(to.saturating_sub(*from));
            lines.push(Line::from(format!(
                "  {:<11} over {span}, by {}",
                "",
                plain(&line.dimension)
            )));
        }
        lines
    }

    fn zones(&self, width: usize) -> Vec<Line<'static>> {
        let mut lines = vec![Self::title("Zones")];
        let name = self
            .overview
            .zones
            .iter()
            .map(|zone| zone.zone.chars().count());
        let name = name.max().unwrap_or(0).min(24);
        lines.extend(
            self.overview
                .zones
                .iter()
                .map(|zone| self.zone(zone, name, width)),
        );
        lines
    }

    fn zone(&self, zone: &Zone, name: usize, width: usize) -> Line<'static> {
        let mut spans = vec![Span::raw(format!("  {:<name$}", plain(&zone.zone)))];
        if !zone.allowed {
            spans.push(Span::styled("  ✕ not allowed", self.bold(Color::Red)));
        }
        for (state, count) in &zone.states {
            let (mark, colour) = state_of(state);
            spans.push(Span::styled(format!("  {mark}"), self.paint(colour)));
            spans.push(Span::raw(format!(
                " {count} {}",
                plain(state).replace('_', " ")
            )));
        }
        if zone.states.is_empty() {
            spans.push(Span::raw("  none"));
        }
        if let Some(allocations) = zone.allocations {
            let text = counted_allocations(figure(allocations));
            let used: usize = spans.iter().map(Span::width).sum();
            let gap = width.min(76).saturating_sub(used + text.len());
            spans.push(Span::raw(format!("{}{text}", " ".repeat(gap.max(2)))));
        }
        Line::from(spans)
    }

    fn drains(&self) -> Vec<Line<'static>> {
        let overview = self.overview;
        if overview.drains.is_empty() {
            return vec![Self::title("Drains"), Line::from("  none")];
        }
        let passed = i64::try_from(self.passed.as_secs()).unwrap_or(i64::MAX);
        let mut lines = vec![Self::title("Drains")];
        for drain in &overview.drains {
            let left = drain.seconds_left.saturating_sub(passed);
            let deadline = if left >= 0 {
                format!("{} left", lasting(left.unsigned_abs()))
            } else {
                format!("{} past its deadline", lasting(left.unsigned_abs()))
            };
            let text = format!(
                "  ◐ {} in {}: {}, {deadline}; {}",
                drain.relay,
                drain.zone,
                counted_allocations(drain.allocations_remaining),
                drain.reason
            );
            let style = if left < 0 {
                self.bold(Color::Red)
            } else {
                Style::new()
            };
            lines.extend(
                wrapped(&text, self.width, 4).into_iter().map(|line| {
                    Line::styled(format!("  {}", line.trim_start_matches("  ")), style)
                }),
            );
        }
        lines
    }

    fn relays(&self) -> Vec<Line<'static>> {
        let overview = self.overview;
        let id = overview
            .relays
            .iter()
            .map(|relay| relay.id.as_str().chars().count());
        let id = id.max().unwrap_or(0).clamp(5, 24);
        let mut lines = vec![Self::title("Relays")];
        if overview.relays.is_empty() {
            lines.push(Line::from("  none"));
            return lines;
        }
        lines.push(Line::from(format!(
            "  {:<id$}  {:<12} {:<11} {:>11} {:>6} {:>10}",
            "id", "zone", "state", "allocations", "full", "age"
        )));
        for relay in &overview.relays {
            let (mark, colour) = state_of(&relay.state);
            let share = relay
                .full
                .map_or_else(|| "?".to_owned(), |full| format!("{:.0} %", full * 100.0));
            let allocations = relay
                .load
                .allocations
                .map_or_else(|| "?".to_owned(), figure);
            let short =
                |text: &str, most: usize| -> String { plain(text).chars().take(most).collect() };
            let mut spans = vec![
                Span::raw(format!(
                    "  {:<id$}  {:<12} ",
                    short(relay.id.as_str(), id),
                    short(relay.zone.as_str(), 12)
                )),
                Span::styled(mark.to_owned(), self.paint(colour)),
                Span::raw(format!(
                    " {:<9} {allocations:>11} {share:>6} {:>10}",
                    short(&relay.state, 11).replace('_', " "),
                    lasting(whole(relay.age_seconds))
                )),
            ];
            if relay.offshore {
                spans.push(Span::styled("  where none may be", self.bold(Color::Red)));
            }
            lines.push(Line::from(spans));
        }
        if overview.left_out.relays > 0 {
            lines.push(Line::from(format!(
                "  and {} more",
                overview.left_out.relays
            )));
        }
        lines
    }

    fn decisions(&self) -> Vec<Line<'static>> {
        let mut lines = vec![Self::title("Last decisions (UTC)")];
        for decision in self.overview.decisions.iter().take(DECISIONS) {
            let text = format!(
                "{} {}",
                of_day(decision.time.as_secs()),
                decision.summary.replace('_', " ")
            );
            lines.extend(indented(&text, self.width, 2, 11));
            for act in &decision.actions {
                let outcome = act.outcome.as_deref().filter(|outcome| *outcome != "done");
                let outcome = outcome.map_or_else(String::new, |word| {
                    let why = act.outcome_words.as_deref().unwrap_or_default();
                    format!(" - {} {why}", word.replace('_', " "))
                });
                let text = format!("-> {} {}: {}{outcome}", act.act, act.target, act.words);
                lines.extend(indented(&text, self.width, 11, 14));
            }
        }
        if self.overview.decisions.is_empty() {
            lines.push(Line::from("  none yet"));
        }
        lines
    }
}

/// The unit that a dimension is shown in, and how many of it one in the document is.
fn unit(dimension: &str) -> (&'static str, f64) {
    match dimension {
        "packets" => ("a second", 1.0),
        "bits" => ("Mbit/s", 1e-6),
        "core" => ("cores", 1.0),
        _ => ("", 1.0),
    }
}

/// A shape and a colour for each state; the word goes with them.
fn state_of(state: &str) -> (&'static str, Color) {
    match state {
        "ready" => ("●", Color::Green),
        "launching" => ("▲", Color::Blue),
        "draining" => ("◐", Color::Yellow),
        "drained" => ("○", Color::Yellow),
        "ending" => ("■", Color::Yellow),
        "lost" | "unready" | "never_ready" => ("✕", Color::Red),
        _ => ("-", Color::Reset),
    }
}

fn condition(condition: Condition) -> (&'static str, Color) {
    match condition {
        Condition::Steady => ("●", Color::Green),
        Condition::Growing => ("▲", Color::Blue),
        Condition::Shrinking => ("◐", Color::Yellow),
        Condition::Starting => ("▲", Color::Reset),
        Condition::Empty => ("○", Color::Yellow),
        Condition::Standby | Condition::Frozen => ("‖", Color::Yellow),
        Condition::Stuck => ("✕", Color::Red),
    }
}

fn wrapped_lines(text: &str, width: usize) -> Vec<Line<'static>> {
    let first = text.len() - text.trim_start().len();
    indented(text.trim_start(), width, first, first + 2)
}

/// Wrapped, the first line and those after it indented by so much.
fn indented(text: &str, width: usize, first: usize, rest: usize) -> Vec<Line<'static>> {
    let more = rest.saturating_sub(first);
    let lines = wrapped(text, width.saturating_sub(first), more).into_iter();
    lines
        .map(|line| Line::from(format!("{}{line}", " ".repeat(first))))
        .collect()
}

/// Leaves out what stands beyond this column.
fn cut(line: &mut Line<'_>, width: usize) {
    let mut left = width;
    for span in &mut line.spans {
        let long = span.content.chars().count();
        if long > left {
            span.content = span.content.chars().take(left).collect::<String>().into();
        }
        left = left.saturating_sub(long);
    }
}

/// Two columns, the second from this column on.
fn beside(left: Vec<Line<'static>>, right: Vec<Line<'static>>, from: usize) -> Vec<Line<'static>> {
    let rows = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    (0..rows)
        .map(|_| {
            let mut line = left.next().unwrap_or_default();
            let Some(other) = right.next() else {
                return line;
            };
            // A title is one for itself, not for what stands beside it.
            let style = line.style;
            for span in &mut line.spans {
                span.style = style.patch(span.style);
            }
            line.style = Style::new();
            let gap = from.saturating_sub(line.width());
            line.spans.push(Span::raw(" ".repeat(gap)));
            let style = other.style;
            let spans = other.spans.into_iter();
            line.spans
                .extend(spans.map(|span| Span::styled(span.content, style.patch(span.style))));
            line
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
