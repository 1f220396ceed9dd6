//! The header field: an Item of RFC 9651 whose bare item is a String.

/// The longest key, as Stripe has it.
pub(super) const LONGEST: usize = 255;

/// The string of a field value; `None` for all that is no such Item. Parameters are
/// checked and left out.
pub(super) fn strict(value: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Rest(value);
    rest.spaces();
    let string = rest.string()?;
    rest.parameters()?;
    rest.spaces();
    rest.0.is_empty().then_some(string)
}

/// The same, and also a word without quotes: visible ASCII without quotes, commas
/// and semicolons, so that two values which a proxy has joined are not one key.
pub(super) fn lenient(value: &[u8]) -> Option<Vec<u8>> {
    let word = value.trim_ascii();
    if word.starts_with(b"\"") {
        return strict(value);
    }
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\",;".contains(byte);
    (!word.is_empty() && word.iter().all(plain)).then(|| word.to_vec())
}

/// What is left to parse. The algorithms are those of RFC 9651, section 4.2.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.0.first() == Some(&byte);
        if taken {
            self.next();
        }
        taken
    }

    /// As many as are of this kind.
    fn run(&mut self, kind: impl Fn(u8) -> bool) -> usize {
        let end = self.0.iter().position(|byte| !kind(*byte));
        let run = end.unwrap_or(self.0.len());
        self.0 = self.0.get(run..).unwrap_or_default();
        run
    }

    fn spaces(&mut self) {
        self.run(|byte| byte == b' ');
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        if !self.take(b'"') {
            return None;
        }
        let mut string = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(string),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => string.push(escaped),
                    _ => return None,
                },
                plain @ b' '..=b'~' => string.push(plain),
                _ => return None,
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.spaces();
            let first = self.next()?;
            if !(first.is_ascii_lowercase() || first == b'*') {
                return None;
            }
            self.run(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b));
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<()> {
        match *self.0.first()? {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.run(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b));
                Some(())
            }
            b':' => {
                self.next();
                self.run(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
                self.take(b':').then_some(())
            }
            b'?' => {
                self.next();
                matches!(self.next()?, b'0' | b'1').then_some(())
            }
            b'@' => {
                self.next();
                // A date is a whole number.
                (self.number()? == 0).then_some(())
            }
            b'%' => self.display_string(),
            _ => None,
        }
    }

    /// How many digits follow the point of a number.
    fn number(&mut self) -> Option<usize> {
        self.take(b'-');
        let whole = self.run(|byte| byte.is_ascii_digit());
        if !self.take(b'.') {
            return (1..=15).contains(&whole).then_some(0);
        }
        let fraction = self.run(|byte| byte.is_ascii_digit());
        let fits = (1..=12).contains(&whole) && (1..=3).contains(&fraction);
        fits.then_some(fraction)
    }

    fn display_string(&mut self) -> Option<()> {
        self.next();
        if !self.take(b'"') {
            return None;
        }
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return std::str::from_utf8(&text).is_ok().then_some(()),
                b'%' => text.push(self.lower_hex()? << 4 | self.lower_hex()?),
                plain @ b' '..=b'~' => text.push(plain),
                _ => return None,
            }
        }
    }

    fn lower_hex(&mut self) -> Option<u8> {
        match self.next()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9651, section 4.1.6.
    fn serialised(string: &str) -> String {
        let escaped = string.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    }

    /// Of each kind of bare item, by the grammar of RFC 9651.
    fn bare_item() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?[0-9]{1,15}",
            "-?[0-9]{1,12}\\.[0-9]{1,3}",
            "[ -~]{0,8}".prop_map(|s| serialised(&s)),
            "[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,8}",
            "([A-Za-z0-9+/]{4}){0,3}".prop_map(|s| format!(":{s}:")),
            "\\?[01]",
            "@-?[0-9]{1,15}",
            "[a-z ]{0,4}".prop_map(|s| format!("%\"{s}%c3%bc\"")),
        ]
    }

    prop_compose! {
        fn parameter()(
            spaces in " {0,2}",
            key in "[a-z*][a-z0-9_.*-]{0,6}",
            value in prop::option::of(bare_item()),
        ) -> String {
            match value {
                Some(value) => format!(";{spaces}{key}={value}"),
                None => format!(";{spaces}{key}"),
            }
        }
    }

    prop_compose! {
        fn item()(
            string in "[ -~]{0,20}",
            parameters in prop::collection::vec(parameter(), 0..3),
            around in (" {0,2}", " {0,2}"),
        ) -> (String, String) {
            let field = format!("{}{}{}", around.0, serialised(&string), parameters.concat());
            (string, field + &around.1)
        }
    }

    proptest! {
        #[test]
        fn what_the_grammar_makes_is_read((string, field) in item()) {
            prop_assert_eq!(strict(field.as_bytes()), Some(string.clone().into_bytes()));
            prop_assert_eq!(lenient(field.as_bytes()), Some(string.into_bytes()));
        }

        #[test]
        fn what_is_read_is_what_the_grammar_makes(
            field in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..12),
                prop::collection::vec(prop::sample::select(&b"\"\\a;= 1.:?@%-"[..]), 0..12),
            ],
        ) {
            if let Some(string) = strict(&field) {
                let string = String::from_utf8(string).unwrap();
                let start = serialised(&string);
                let field = String::from_utf8(field).unwrap();
                let rest = field.trim_matches(' ').strip_prefix(&start);
                prop_assert!(rest.is_some_and(|r| r.is_empty() || r.starts_with(';')));
            }
        }

        #[test]
        fn a_foreign_byte_anywhere_is_refused(
            (string, field) in item(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![0..32u8, 127..=255u8],
        ) {
            let mut field = field.into_bytes();
            field.insert(at.index(field.len() + 1), byte);
            prop_assert_eq!(strict(&field), None, "{}", string);
        }
    }

    #[test]
    fn fault_076_fields_of_the_drafts_table() {
        for (field, key) in [
            (
                "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"",
                Some("8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ),
            ("\"a\\\"b\"", Some("a\"b")),
            ("\"k\";x=1", Some("k")),
            ("8e03978e", None),
            ("\"a\\x\"", None),
            ("\"\u{e9}\"", None),
            ("\"a\", \"b\"", None),
            ("\"a\" ; x", None),
            ("\"a", None),
            ("\"a\";X", None),
            ("\"a\";x=", None),
            ("\"a\";x=1.", None),
            ("\"a\";x=@1.5", None),
            ("\"a\";x=1234567890123456", None),
            ("\"a\";x=%\"%FF\"", None),
            ("\"a\";x=%\"%ff\"", None),
            ("", None),
        ] {
            let read = strict(field.as_bytes());
            assert_eq!(read.as_deref(), key.map(str::as_bytes), "{field}");
        }
        assert_eq!(lenient(b" 8e03978e "), Some(b"8e03978e".to_vec()));
        for none in ["", " ", "a b", "a,b", "a;b", "a\"b", "\u{e9}", "\"a"] {
            assert_eq!(lenient(none.as_bytes()), None, "{none}");
        }
    }
}
