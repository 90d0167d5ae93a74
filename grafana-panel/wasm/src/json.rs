//! Just enough JSON for reports to the page, and for reading back what the panel itself has written.

/// Appends a string with its quotes.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a number that reads back as the same bits; `null` where JSON has none (NaN, infinities).
pub fn number(out: &mut String, value: f64) {
    if value.is_finite() { out.push_str(&format!("{value:?}")) } else { out.push_str("null") }
}

/// Appends a number or `null`.
pub fn optional(out: &mut String, value: Option<f64>) {
    number(out, value.unwrap_or(f64::NAN));
}

/// Appends a string or `null`.
pub fn optional_string(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.push_str("null"),
    }
}

/// Appends a list.
pub fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) {
    out.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// One field of an object: its name and what writes its value.
pub type Field<'a> = (&'a str, &'a dyn Fn(&mut String));

/// Appends an object.
pub fn object(out: &mut String, fields: &[Field<'_>]) {
    out.push('{');
    for (place, (name, value)) in fields.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        value(out);
    }
    out.push('}');
}

/// A value read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `true` and `false`: nothing here needs them apart.
    Word,
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object; of doubled names, all.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads a whole text; `None` unless it is JSON, nested at most 32 deep.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text };
        let value = reader.value(32)?;
        reader.space();
        reader.rest.is_empty().then_some(value)
    }

    /// A field of an object.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|f| f.0 == name).map(|f| &f.1),
            _ => None,
        }
    }

    /// Fields of an object; none of anything else.
    #[must_use]
    pub fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }

    /// Items of a list; none of anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// A string's text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number's value.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
    }

    fn takes(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        if ["null", "true", "false"].into_iter().any(|w| self.takes(w)) {
            return Some(Value::Word);
        }
        if self.takes("[") {
            let mut items = Vec::new();
            if self.takes("]") {
                return Some(Value::List(items));
            }
            loop {
                items.push(self.value(depth)?);
                if self.takes("]") {
                    return Some(Value::List(items));
                }
                self.takes(",").then_some(())?;
            }
        }
        if self.takes("{") {
            let mut fields = Vec::new();
            if self.takes("}") {
                return Some(Value::Object(fields));
            }
            loop {
                self.takes("\"").then_some(())?;
                let name = self.string()?;
                self.takes(":").then_some(())?;
                fields.push((name, self.value(depth)?));
                if self.takes("}") {
                    return Some(Value::Object(fields));
                }
                self.takes(",").then_some(())?;
            }
        }
        if self.takes("\"") {
            return self.string().map(Value::Text);
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok().filter(|v: &f64| v.is_finite()).map(Value::Number)
    }

    /// After the opening quote.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => {
                        let digits: String = (0..4).map_while(|_| chars.next()).map(|c| c.1).collect();
                        // Halves of surrogate pairs, which nothing here writes, become a replacement mark.
                        text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?).unwrap_or('\u{fffd}'));
                    }
                    plain => text.push(plain),
                },
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_what_is_no_json() {
        let mut out = String::new();
        let name = "a\"\\\n\u{1}é";
        object(&mut out, &[(name, &|o| list(o, [1.5, -2e-9], number)), ("n", &|o| o.push_str("null"))]);
        let value = Value::read(&out).unwrap();
        assert_eq!(value.field(name).unwrap().items(), [Value::Number(1.5), Value::Number(-2e-9)]);
        assert_eq!(value.field("n"), Some(&Value::Word));
        assert_eq!(Value::read(" [ ] "), Some(Value::List(Vec::new())));
        for bad in ["", "{", "[1,", "{\"a\" 1}", "\"open", "1 2", "nul", "\"\\u12\"", &"[".repeat(100)] {
            assert_eq!(Value::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn escapes_and_refuses_to_write_what_json_lacks() {
        let mut out = String::new();
        object(
            &mut out,
            &[
                ("a\"\\\n", &|o| list(o, [1.5, f64::NAN, 1e-9], number)),
                ("b", &|o| optional_string(o, None)),
                ("c", &|o| optional(o, Some(3.0))),
            ],
        );
        assert_eq!(out, r#"{"a\"\\\u000a":[1.5,null,1e-9],"b":null,"c":3.0}"#);
    }
}
