//! Tokens of the admin API that are wrong at their first byte, or at their last.

use taciturn_plane::{Access, PreparedAccess, Token};

use super::Case;

const TOKEN: &[u8; 43] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

pub(super) fn case() -> Case {
    let operator = PreparedAccess::new(Some(Token::new(TOKEN)), None);
    let access = Access::new(
        operator
            .with_reader(Token::new(b"a reader's token, which is not the same one"))
            .with_subject(
                "clinic",
                Token::new(b"and a subject's, of the same length as it.."),
            ),
    );
    let wrong_at = |at: usize| -> Vec<Vec<u8>> {
        let wrong = (1..=u8::MAX).map(|difference| {
            let mut token = *TOKEN;
            token[at] ^= difference;
            [b"Bearer ".as_slice(), &token].concat()
        });
        wrong.collect()
    };
    Case {
        name: "token",
        classes: ["wrong in byte 1", "wrong in byte 43"],
        leaks: false,
        // One comparison takes about as long as it takes to read the clock.
        repeats: 16,
        inputs: [wrong_at(0), wrong_at(TOKEN.len() - 1)],
        work: Box::new(move |input| !access.admits(input)),
    }
}
