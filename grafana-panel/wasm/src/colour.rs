//! Colours: the palettes of both themes and the scales that turn numbers into colours.
//!
//! Fill says how anomalous a service is, violet (ring, halo) what the inference concluded, blue what
//! is only supposed, and the colour of an edge its errors. Scales are continuous and saturate.

use std::borrow::Cow;
use std::fmt;

/// An opaque sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    /// Red, green and blue.
    pub rgb: [u8; 3],
}

impl Colour {
    /// From `0xRRGGBB`.
    #[must_use]
    pub const fn hex(value: u32) -> Self {
        Self { rgb: [(value >> 16) as u8, (value >> 8) as u8, value as u8] }
    }

    /// From CSS `#rgb`, `#rrggbb`, `rgb(..)` or `rgba(..)` (its alpha is ignored); `None` for anything else.
    #[must_use]
    pub fn parse(css: &str) -> Option<Self> {
        let css = css.trim();
        if let Some(hex) = css.strip_prefix('#') {
            let value = u32::from_str_radix(hex, 16).ok()?;
            return match hex.len() {
                6 => Some(Self::hex(value)),
                3 => {
                    let digit = |shift: u32| (((value >> shift) & 0xf) * 17) as u8;
                    Some(Self { rgb: [digit(8), digit(4), digit(0)] })
                }
                _ => None,
            };
        }
        let inner = css.strip_prefix("rgba(").or_else(|| css.strip_prefix("rgb("))?.strip_suffix(')')?;
        let mut parts = inner.split([',', ' ', '/']).filter(|p| !p.is_empty());
        let mut channel = || parts.next()?.parse::<f64>().ok().map(|v| v.clamp(0.0, 255.0) as u8);
        Some(Self { rgb: [channel()?, channel()?, channel()?] })
    }

    /// The colour `share` (0 to 1) of the way to `other`.
    #[must_use]
    pub fn mix(self, other: Self, share: f64) -> Self {
        let share = share.clamp(0.0, 1.0);
        let mut rgb = [0; 3];
        for (out, (a, b)) in rgb.iter_mut().zip(self.rgb.iter().zip(other.rgb)) {
            *out = (f64::from(*a) + (f64::from(b) - f64::from(*a)) * share).round() as u8;
        }
        Self { rgb }
    }

    /// Relative luminance in [0, 1] (WCAG 2.1, section 1.4.3).
    #[must_use]
    pub fn luminance(self) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = self.rgb;
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    /// Contrast ratio with `other`, 1 to 21 (WCAG 2.1, section 1.4.3).
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance() + 0.05, other.luminance() + 0.05);
        if a > b { a / b } else { b / a }
    }

    /// Near-black or white, whichever is easier to read upon this colour.
    #[must_use]
    pub fn ink(self) -> Self {
        let (dark, light) = (Self::hex(0x11_12_17), Self::hex(0xff_ff_ff));
        if self.contrast(dark) >= self.contrast(light) { dark } else { light }
    }

    /// As a CSS colour of the given opacity.
    #[must_use]
    pub fn css(self, alpha: f64) -> String {
        let [r, g, b] = self.rgb;
        if alpha >= 1.0 { self.to_string() } else { format!("rgba({r},{g},{b},{:.3})", alpha.max(0.0)) }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.rgb;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

/// A colour scale; stops are sorted by value.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// From which value on, which colour.
    pub stops: Cow<'static, [(f64, Colour)]>,
    /// Each colour holds until the next one, as thresholds do; else they blend.
    pub stepped: bool,
}

impl Scale {
    const fn smooth(stops: &'static [(f64, Colour)]) -> Self {
        Self { stops: Cow::Borrowed(stops), stepped: false }
    }

    /// The colour of a value, or of the nearest of some thousand if the scale blends: many marks, few looks.
    #[must_use]
    pub fn coarse(&self, value: f64, steps: f64) -> Colour {
        on_scale(self, if self.stepped { value } else { (value * steps).round() / steps })
    }
}

/// Everything drawn takes its colour from here.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// What the canvas lies upon; label outlines take it.
    pub background: Colour,
    /// Labels.
    pub text: Colour,
    /// Secondary marks: outlines of services without a score.
    pub muted: Colour,
    /// Conclusions of the inference: posterior ring, blast radius.
    pub inferred: Colour,
    /// Suppositions of the user.
    pub hypothetical: Colour,
    /// Anomaly score to fill.
    pub score: Scale,
    /// Error ratio to edge colour.
    pub errors: Scale,
}

const SCORE_DARK: &[(f64, Colour)] = &[
    (0.0, Colour::hex(0x4f_7d_8c)),
    (0.6, Colour::hex(0x6f_a8_7b)),
    (1.0, Colour::hex(0xf2_b1_34)),
    (2.0, Colour::hex(0xf0_6a_3a)),
    (4.0, Colour::hex(0xe0_2f_44)),
];
const SCORE_LIGHT: &[(f64, Colour)] = &[
    (0.0, Colour::hex(0x8f_b8_c4)),
    (0.6, Colour::hex(0x8c_c0_94)),
    (1.0, Colour::hex(0xe8_a3_17)),
    (2.0, Colour::hex(0xe0_5a_26)),
    (4.0, Colour::hex(0xc4_16_2a)),
];
const ERRORS_DARK: &[(f64, Colour)] = &[
    (0.0, Colour::hex(0x6b_72_80)),
    (0.01, Colour::hex(0x95_79_6a)),
    (0.05, Colour::hex(0xd9_80_4a)),
    (0.25, Colour::hex(0xf2_49_5c)),
];
const ERRORS_LIGHT: &[(f64, Colour)] = &[
    (0.0, Colour::hex(0x9a_a1_ad)),
    (0.01, Colour::hex(0xa8_8b_78)),
    (0.05, Colour::hex(0xcf_6d_2c)),
    (0.25, Colour::hex(0xc4_16_2a)),
];

impl Theme {
    /// The palette for dark or light surroundings on `background` (each theme's usual one if `None`).
    #[must_use]
    pub fn new(dark: bool, background: Option<Colour>) -> Self {
        if dark {
            Self {
                background: background.unwrap_or(Colour::hex(0x18_1b_1f)),
                text: Colour::hex(0xdc_df_e6),
                muted: Colour::hex(0x8a_90_9c),
                inferred: Colour::hex(0xc0_8b_f5),
                hypothetical: Colour::hex(0x5a_b4_ff),
                score: Scale::smooth(SCORE_DARK),
                errors: Scale::smooth(ERRORS_DARK),
            }
        } else {
            Self {
                background: background.unwrap_or(Colour::hex(0xff_ff_ff)),
                text: Colour::hex(0x24_29_2e),
                muted: Colour::hex(0x6e_76_81),
                inferred: Colour::hex(0x7a_2f_b8),
                hypothetical: Colour::hex(0x1f_6f_d6),
                score: Scale::smooth(SCORE_LIGHT),
                errors: Scale::smooth(ERRORS_LIGHT),
            }
        }
    }
}

/// The colour of `value` on `scale`; values beyond an end take that end's colour, NaN the lower one.
#[must_use]
pub fn on_scale(scale: &Scale, value: f64) -> Colour {
    let Some(&(first_value, first)) = scale.stops.first() else { return Colour::hex(0) };
    let mut below = (first_value, first);
    for &(at, colour) in scale.stops.iter() {
        if value < at {
            if scale.stepped {
                return below.1;
            }
            let span = at - below.0;
            return if span > 0.0 { below.1.mix(colour, (value - below.0) / span) } else { colour };
        }
        if value >= at {
            below = (at, colour);
        }
    }
    below.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_colours_that_themes_write() {
        assert_eq!(Colour::parse("#181b1f"), Some(Colour::hex(0x18_1b_1f)));
        assert_eq!(Colour::parse("#fff"), Some(Colour::hex(0xff_ff_ff)));
        assert_eq!(Colour::parse("rgba(24, 27, 31, 0.5)"), Some(Colour::hex(0x18_1b_1f)));
        assert_eq!(Colour::parse("transparent"), None);
        assert_eq!(Colour::parse("#12"), None);
    }

    #[test]
    fn scales_interpolate_and_saturate() {
        let scale = Scale::smooth(SCORE_DARK);
        let stop = |at: usize| SCORE_DARK[at].1;
        assert_eq!(on_scale(&scale, -1.0), stop(0));
        assert_eq!(on_scale(&scale, 99.0), stop(4));
        assert_eq!(on_scale(&scale, 1.0), stop(2));
        assert_eq!(on_scale(&scale, f64::NAN), stop(0));
        let between = on_scale(&scale, 1.5);
        assert!(between != stop(2) && between != stop(3));
    }

    #[test]
    fn thresholds_hold_until_the_next_one() {
        let [green, red] = [Colour::hex(0x00_80_00), Colour::hex(0xff_00_00)];
        let scale = Scale { stops: vec![(f64::NEG_INFINITY, green), (1.5, red)].into(), stepped: true };
        assert_eq!([-9.0, 1.499, 1.5, 99.0].map(|v| scale.coarse(v, 64.0)), [green, green, red, red]);
        assert_eq!(on_scale(&scale, f64::NAN), green);
    }

    #[test]
    fn every_fill_and_conclusion_stands_out_in_both_themes() {
        for dark in [true, false] {
            let theme = Theme::new(dark, None);
            assert!(theme.text.contrast(theme.background) > 7.0);
            for (_, colour) in theme.score.stops.iter().chain(theme.errors.stops.iter()) {
                assert!(colour.contrast(theme.background) > 1.9, "{colour} dark={dark}");
                assert!(colour.ink().contrast(*colour) > 4.0, "{colour}");
            }
            for colour in [theme.inferred, theme.hypothetical, theme.muted] {
                assert!(colour.contrast(theme.background) > 4.0, "{colour} dark={dark}");
            }
        }
    }
}
