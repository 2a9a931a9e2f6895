//! The commands that mend a group.
//!
//! Responsible for writing them so that they can be pasted into a shell. Nothing here runs any.

/// Writes commands for one group of one region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixes<'a> {
    pub(super) group: &'a str,
    pub(super) region: &'a str,
}

impl Fixes<'_> {
    /// `aws autoscaling COMMAND` for the group.
    pub(super) fn group(&self, command: &str, arguments: &str) -> String {
        let gap = if arguments.is_empty() { "" } else { " " };
        format!(
            "aws autoscaling {command} --region {} --auto-scaling-group-name {}{gap}{arguments}",
            quoted(self.region),
            quoted(self.group)
        )
    }

    /// The update of one of its properties.
    pub(super) fn update(&self, arguments: &str) -> String {
        self.group("update-auto-scaling-group", arguments)
    }

    /// The list of zones with both of their names.
    pub(super) fn zones(&self) -> String {
        format!(
            "aws ec2 describe-availability-zones --region {} --query 'AvailabilityZones[].[ZoneName,ZoneId]'",
            quoted(self.region)
        )
    }
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_word() {
        assert_eq!(quoted("relays-1"), "relays-1");
        assert_eq!(quoted("a b; rm -rf '$x'"), "'a b; rm -rf '\\''$x'\\'''");
        assert_eq!(quoted(""), "''");
    }
}
