//! The page of a fleet that a test makes up.

use super::*;

#[test]
fn a_condition_that_is_not_known_is_read_as_none_of_these() {
    let read: Condition = serde_json::from_str("\"frozen\"").unwrap();
    assert_eq!(read, Condition::Frozen);
    let later: Condition = serde_json::from_str("\"of a later version\"").unwrap();
    assert_eq!(later, Condition::Steady);
}
