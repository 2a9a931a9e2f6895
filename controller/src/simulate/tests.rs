//! Whole simulations.

use super::testing::plain;
use super::*;

#[test]
fn the_compared_algorithms_keep_a_fleet_of_about_the_right_size() {
    let policy = Policy {
        min: 2,
        max: 40,
        ..Policy::default()
    };
    let options = Options {
        room: Some(50),
        compare: true,
        ..Options::default()
    };
    let trace = plain(&[(60, 5.0), (60, 20.0), (120, 20.0), (240, 2.0)]);
    let comparison = simulate(&trace, &policy, &options);
    println!("{comparison}");
    assert_eq!(comparison.keepers.len(), 5);
}
