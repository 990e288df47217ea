//! What counts as a phone number: what people write, of any country.

/// For field errors.
pub(crate) const RULE: &str = "must be a phone number of 5 to 15 digits";

/// 5 to 15 digits (E.164 has at most 15), and what people put between them.
pub(crate) fn is_phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let clean = text.bytes().all(|b| b.is_ascii_digit() || b"+-() .".contains(&b));
    clean && text.len() <= 40 && (5..=15).contains(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_and_what_stands_between_them_is_a_number() {
        for number in ["+44 20 7946 0000", "(020) 7946-0000", "12345", " +1.555.0100"] {
            assert!(is_phone(number), "{number}");
        }
        let long = format!("12345{}", " ".repeat(40));
        for odd in ["", "1234", "1234567890123456", "555-CALL-NOW", "12345\n", "\u{661}2345", &long]
        {
            assert!(!is_phone(odd), "{odd:?}");
        }
    }
}
