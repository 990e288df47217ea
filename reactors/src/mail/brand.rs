use domain::business::Branding;
use minijinja::{Value, context};

/// Of businesses that named no colour.
const COLOR: [u8; 3] = [0x1d, 0x4e, 0xd8];

/// How a mail looks: the logo, the colour, the colour of words on it, the last words.
pub(super) fn values(branding: &Branding) -> Value {
    let color = branding.color.as_deref().and_then(parse).unwrap_or(COLOR);
    let [red, green, blue] = color;
    context! {
        logo_url => &branding.logo_url,
        sign_off => &branding.sign_off,
        color => format!("#{red:02x}{green:02x}{blue:02x}"),
        on_color => if luminance(color) > MIDDLE { "#000000" } else { "#ffffff" },
    }
}

fn parse(color: &str) -> Option<[u8; 3]> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    let part = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

/// Where black and white can be read equally well: 1.05 / (l + 0.05) = (l + 0.05) / 0.05.
const MIDDLE: f64 = 0.179_129;

/// Relative luminance, from 0 for black to 1 for white (WCAG 2.2).
fn luminance(color: [u8; 3]) -> f64 {
    let [red, green, blue] = color.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn words_can_be_read_on_every_colour() {
        for part in 0..17_u32.pow(3) {
            let [red, green, blue] = [part % 17, part / 17 % 17, part / 289].map(|n| n * 15);
            let color = format!("#{red:02X}{green:02x}{blue:02x}");
            let branding = Branding { color: Some(color.clone()), ..Branding::default() };
            let shown = values(&branding);
            let of = |name: &str| parse(shown.get_attr(name).unwrap().as_str().unwrap()).unwrap();
            assert_eq!(Some(of("color")), parse(&color));
            // What WCAG 2.2 asks of words of any size.
            assert!(contrast(of("color"), of("on_color")) >= 4.5, "{color}");
        }
    }

    #[test]
    fn who_names_no_colour_has_one() {
        let shown = values(&Branding::default());
        assert_eq!(shown.get_attr("color").unwrap().as_str(), Some("#1d4ed8"));
        assert_eq!(shown.get_attr("on_color").unwrap().as_str(), Some("#ffffff"));
        assert!(shown.get_attr("logo_url").unwrap().is_none());
    }
}
