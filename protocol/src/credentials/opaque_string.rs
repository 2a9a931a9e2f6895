//! The OpaqueString profile (RFC 8265 §4.2) over the FreeformClass (RFC 8264 §4.3), without tables of our own beyond the
//! short lists below: the general category of a character decides nearly everything.
//!
//! Narrower than the profile in one respect, on the safe side: of the characters that are legal in some contexts only
//! (RFC 5892 appendix A) the two sets of Arabic digits are judged, all others are refused.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Why a string is no OpaqueString.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueStringError {
    /// Nothing is left of it.
    Empty,
    /// A control, private, unassigned, ignorable or otherwise disallowed character.
    Disallowed(char),
    /// A character that is legal in some contexts only.
    Contextual(char),
}

impl fmt::Display for OpaqueStringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty string"),
            Self::Disallowed(char) => write!(f, "disallowed character U+{:04X}", u32::from(*char)),
            Self::Contextual(char) => {
                write!(
                    f,
                    "character U+{:04X} is not allowed here",
                    u32::from(*char)
                )
            }
        }
    }
}

impl core::error::Error for OpaqueStringError {}

/// Prepares a realm, user name or password: non-ASCII spaces become U+0020, then NFC. Nothing else changes, case least of all.
///
/// # Errors
///
/// An empty string, or the first character that the profile refuses.
pub fn prepare_opaque_string(text: &str) -> Result<Cow<'_, str>, OpaqueStringError> {
    if text.is_empty() {
        return Err(OpaqueStringError::Empty);
    }
    if text.bytes().all(|byte| matches!(byte, 0x20..=0x7E)) {
        return Ok(Cow::Borrowed(text));
    }
    for char in text.chars() {
        judge(char, text)?;
    }
    let spaced = |char| if is_space(char) { ' ' } else { char };
    if !text.chars().any(|char| char != spaced(char))
        && matches!(is_nfc_quick(text.chars()), IsNormalized::Yes)
    {
        return Ok(Cow::Borrowed(text));
    }
    let prepared = text.chars().map(spaced).nfc().collect::<String>();
    // RFC 8264 §7: characters are judged after normalisation, which makes a contextual one of U+0387. What is prepared can
    // then be prepared again, so that whoever is named by it can be named once more, to be revoked.
    for char in prepared.chars() {
        judge(char, &prepared)?;
    }
    Ok(Cow::Owned(prepared))
}

fn is_space(char: char) -> bool {
    matches!(char.general_category(), GeneralCategory::SpaceSeparator)
}

/// RFC 8264 §8 in its order, as far as the categories do not say the same.
fn judge(char: char, text: &str) -> Result<(), OpaqueStringError> {
    match char {
        // Exceptions of RFC 5892 §2.6 that are disallowed.
        '\u{0640}'
        | '\u{07FA}'
        | '\u{302E}'
        | '\u{302F}'
        | '\u{3031}'..='\u{3035}'
        | '\u{303B}' => Err(OpaqueStringError::Disallowed(char)),
        // Old Hangul jamo.
        '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97C}' | '\u{D7B0}'..='\u{D7FB}' => {
            Err(OpaqueStringError::Disallowed(char))
        }
        // Ignorable by default, but of a category that would pass.
        '\u{034F}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{180B}'..='\u{180F}'
        | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FFA0}'
        | '\u{E0000}'..='\u{E0FFF}' => Err(OpaqueStringError::Disallowed(char)),
        // Arabic-Indic digits and their extended forms must not meet (RFC 5892 appendices A.8, A.9).
        '\u{0660}'..='\u{0669}'
            if text.contains(|other| matches!(other, '\u{06F0}'..='\u{06F9}')) =>
        {
            Err(OpaqueStringError::Contextual(char))
        }
        '\u{06F0}'..='\u{06F9}'
            if text.contains(|other| matches!(other, '\u{0660}'..='\u{0669}')) =>
        {
            Err(OpaqueStringError::Contextual(char))
        }
        '\u{00B7}' | '\u{0375}' | '\u{05F3}' | '\u{05F4}' | '\u{200C}' | '\u{200D}'
        | '\u{30FB}' => Err(OpaqueStringError::Contextual(char)),
        _ if is_freeform(char.general_category()) => Ok(()),
        _ => Err(OpaqueStringError::Disallowed(char)),
    }
}

/// Letters, digits, marks, numbers, symbols, punctuation and spaces (RFC 8264 §9); U+00AD is a format character and is out.
const fn is_freeform(category: GeneralCategory) -> bool {
    !matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_passes_as_it_is_and_controls_do_not() {
        assert_eq!(prepare_opaque_string("Pa ss~"), Ok(Cow::Borrowed("Pa ss~")));
        assert_eq!(prepare_opaque_string(""), Err(OpaqueStringError::Empty));
        for control in ['\0', '\t', '\n', '\u{7F}', '\u{85}'] {
            let text = String::from(control);
            assert_eq!(
                prepare_opaque_string(&text),
                Err(OpaqueStringError::Disallowed(control))
            );
        }
    }

    /// The examples of RFC 8265 §4.3.
    #[test]
    fn the_examples_of_the_profile_hold() {
        assert_eq!(
            prepare_opaque_string("correct horse battery staple").as_deref(),
            Ok("correct horse battery staple")
        );
        assert_eq!(
            prepare_opaque_string("Correct Horse Battery Staple").as_deref(),
            Ok("Correct Horse Battery Staple")
        );
        assert_eq!(prepare_opaque_string("πßå").as_deref(), Ok("πßå"));
        assert_eq!(
            prepare_opaque_string("Jack of ♦s").as_deref(),
            Ok("Jack of ♦s")
        );
        assert_eq!(
            prepare_opaque_string("foo\u{1680}bar").as_deref(),
            Ok("foo bar")
        );
        assert_eq!(prepare_opaque_string("\u{3000}").as_deref(), Ok(" "));
        assert!(prepare_opaque_string("my cat is a \u{9}by").is_err());
    }

    #[test]
    fn composition_is_canonical_and_not_by_compatibility() {
        assert_eq!(prepare_opaque_string("e\u{301}").as_deref(), Ok("\u{E9}"));
        assert_eq!(prepare_opaque_string("\u{2168}").as_deref(), Ok("\u{2168}"));
        assert_eq!(
            prepare_opaque_string("マトリックス").as_deref(),
            Ok("マトリックス")
        );
    }

    /// A name that is minted can be revoked: what is prepared can be prepared again, with the same result.
    #[test]
    fn what_normalisation_makes_is_judged_too() {
        assert_eq!(
            prepare_opaque_string("\u{387}"),
            Err(OpaqueStringError::Contextual('\u{B7}'))
        );
        let mut kept = 0;
        for char in '\0'..=char::MAX {
            let mut alone = [0; 4];
            if let Ok(prepared) = prepare_opaque_string(char.encode_utf8(&mut alone)) {
                kept += 1;
                assert_eq!(prepare_opaque_string(&prepared).as_ref(), Ok(&prepared));
            }
        }
        assert!(kept > 100_000, "{kept} characters pass");
    }

    #[test]
    fn ignorable_unassigned_and_contextual_characters_are_refused() {
        for char in [
            '\u{AD}', '\u{200B}', '\u{2028}', '\u{FE0F}', '\u{E000}', '\u{378}', '\u{FFFF}',
            '\u{1100}', '\u{640}', '\u{7FA}', '\u{302E}', '\u{302F}', '\u{3031}', '\u{3035}',
            '\u{303B}',
        ] {
            assert_eq!(
                prepare_opaque_string(&String::from(char)),
                Err(OpaqueStringError::Disallowed(char))
            );
        }
        for char in ['\u{200D}', '\u{B7}', '\u{30FB}'] {
            assert_eq!(
                prepare_opaque_string(&String::from(char)),
                Err(OpaqueStringError::Contextual(char))
            );
        }
        assert!(prepare_opaque_string("\u{660}\u{661}").is_ok());
        assert!(prepare_opaque_string("\u{6F0}\u{6F1}").is_ok());
        for (mixed, first) in [("\u{660}\u{6F1}", '\u{660}'), ("\u{6F1}\u{660}", '\u{6F1}')] {
            assert_eq!(
                prepare_opaque_string(mixed),
                Err(OpaqueStringError::Contextual(first))
            );
        }
    }
}
