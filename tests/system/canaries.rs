//! What is planted so that nobody may say it, and is known again in whatever form.
//!
//! Responsible for the forms. Not responsible for where it is planted and looked for.

use std::net::{IpAddr, Ipv4Addr};

/// What must not be said, with a word for it.
#[derive(Default)]
pub(crate) struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// As text, in hexadecimal, in base64 wherever in a longer text it begins, and as a debugger prints bytes.
    pub(crate) fn plant(&mut self, what: &'static str, bytes: &[u8]) {
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![list.join(", "), hex.to_uppercase(), hex];
        if let Ok(text) = str::from_utf8(bytes) {
            forms.push(text.to_owned());
        }
        // Of fewer bytes too few characters would be left to be told from chance.
        if bytes.len() >= 8 {
            forms.extend((0..3).map(|before| base64_of(bytes, before)));
        }
        self.0.extend(forms.into_iter().map(|form| (what, form)));
    }

    /// An address, and the number that it is.
    pub(crate) fn plant_address(&mut self, what: &'static str, address: IpAddr) {
        let number = match address {
            IpAddr::V4(address) => {
                self.plant(what, &address.octets());
                u32::from(address).to_string()
            }
            IpAddr::V6(address) => {
                self.plant(what, &address.octets());
                u128::from(address).to_string()
            }
        };
        self.0.extend([(what, address.to_string()), (what, number)]);
    }

    /// Fails where one of them stands.
    pub(crate) fn assert_silent(&self, place: &str, text: &str) {
        for (what, form) in &self.0 {
            if let Some(at) = text.find(form.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = text[line..].lines().next().unwrap();
                panic!("{place} tells the {what}, as {form}: {line}");
            }
        }
    }
}

/// The characters of base64 that depend on these bytes alone, when `before` bytes come before them.
fn base64_of(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let first = (6 - before * 8 % 6) % 6;
    (0..(bytes.len() * 8 - first) / 6)
        .map(|digit| (0..6).fold(0, |value, at| value * 2 + bit(first + digit * 6 + at)))
        .map(|value| char::from(DIGITS[value]))
        .collect()
}

#[test]
fn a_canary_is_known_again_in_every_form() {
    // "Zm9vYmFyYmF6cXV4" is base64 of "foobarbazqux", "eGZvb2JhcmJhenF1eA==" of it behind one byte.
    let mut canaries = Canaries::default();
    canaries.plant("word", b"foobarbazqux");
    let address = Ipv4Addr::new(127, 214, 73, 191);
    canaries.plant_address("address", address.into());
    canaries.plant_address("address", "fd77::c11e:2714".parse().unwrap());
    for said in [
        "foobarbazqux",
        "name=\"foobarbazqux\"",
        "666f6f62617262617a717578",
        "666F6F62617262617A717578",
        "[102, 111, 111, 98, 97, 114, 98, 97, 122, 113, 117, 120]",
        "Zm9vYmFyYmF6cXV4",
        "eGZvb2JhcmJhenF1eA==",
        "eHhmb29iYXJiYXpxdXg=",
        "127.214.73.191:50000",
        "7fd649bf",
        "2144750015",
        "[fd77::c11e:2714]:50000",
        "fd7700000000000000000000c11e2714",
    ] {
        let known = std::panic::catch_unwind(|| canaries.assert_silent("nobody", said));
        assert!(known.is_err(), "{said}");
    }
    canaries.assert_silent("nobody", "an innocent line");
}
