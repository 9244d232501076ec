//! Quantities as people write them: "250ms", "100mbit", "64KiB", "0.5%".
//!
//! A number and a unit, nothing between them. All become integers of the smallest unit; what is too small or too large
//! for that is refused. They print as they are read.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::link::Share;

/// A length of time: ns, us, ms, s, m or h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// Bits per second: bit, kbit, mbit or gbit, in steps of a thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub u64);

/// Octets: B, kB, MB and GB in steps of a thousand; KiB, MiB and GiB in steps of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// A probability: percent with at most four decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(pub Share);

type Units = &'static [(&'static str, u64)];

const SPANS: Units = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
const RATES: Units = &[("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
const SIZES: Units = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

fn parse(text: &str, what: &str, units: Units) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = units.iter().find(|(name, _)| *name == unit);
    let (Ok(number), Some((_, scale))) = (number.parse::<u64>(), unit) else {
        let names: Vec<&str> = units.iter().map(|&(name, _)| name).collect();
        return Err(format!(
            "{text:?} is no {what}: a whole number and one of {} belongs there",
            names.join(", ")
        ));
    };
    number.checked_mul(*scale).ok_or_else(|| format!("{text:?} is more than can be counted"))
}

/// In the largest unit that leaves a whole number.
fn print(f: &mut fmt::Formatter<'_>, number: u64, units: Units) -> fmt::Result {
    let fits = |(_, scale): &&(&str, u64)| number.is_multiple_of(*scale);
    let (name, scale) = units.iter().filter(fits).max_by_key(|(_, scale)| *scale).unwrap_or(&units[0]);
    if number == 0 { write!(f, "0{}", units[0].0) } else { write!(f, "{}{name}", number / scale) }
}

impl Span {
    /// Whether it is no time at all.
    pub const fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, "length of time", SPANS).map(|nanos| Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX), SPANS)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse(text, "rate", RATES)? {
            0 => Err("a rate of nothing lets nothing pass; say up = false".to_owned()),
            rate => Ok(Self(rate)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, RATES)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, "number of octets", SIZES).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, SIZES)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (whole, decimals) = match text.strip_suffix('%')?.split_once('.') {
                Some((whole, decimals)) if (1..=4).contains(&decimals.len()) => (whole, decimals),
                Some(_) => return None,
                None => (text.strip_suffix('%')?, ""),
            };
            if !whole.bytes().chain(decimals.bytes()).all(|octet| octet.is_ascii_digit()) {
                return None;
            }
            let whole: u32 = whole.parse().ok()?;
            let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
            Share::of_million(whole.checked_mul(10_000)?.checked_add(decimals)?)
        };
        parts().map(Self).ok_or_else(|| {
            format!("{text:?} is no share: \"0%\" to \"100%\" belongs there, with at most four decimals")
        })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millionths = self.0.millionths();
        let decimals = format!("{:04}", millionths % 10_000);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}%", millionths / 10_000),
            decimals => write!(f, "{}.{decimals}%", millionths / 10_000),
        }
    }
}

macro_rules! text {
    ($($quantity:ty),*) => {$(
        impl TryFrom<String> for $quantity {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$quantity> for String {
            fn from(quantity: $quantity) -> Self {
                quantity.to_string()
            }
        }
    )*};
}

text!(Span, Rate, Size, Percent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_print_as_they_are_read() {
        for text in ["0ns", "250ms", "1500us", "90m", "1h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["1500bit", "100mbit", "1gbit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["0B", "999B", "64KiB", "10MB", "1GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["0%", "100%", "0.5%", "0.0001%", "12.34%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        assert_eq!("1.05%".parse::<Percent>().unwrap().0.millionths(), 10_500);
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_the_reason() {
        for text in ["", "5", "ms", "1.5s", "-1s", "1 s", "1d", "99999999999h"] {
            let refusal = text.parse::<Span>().unwrap_err();
            assert!(refusal.contains(&format!("{text:?}")), "{refusal}");
        }
        for text in ["", "%", "1", "101%", "0.00001%", "-1%", "1.%", ".5%", "+1%", "9999999999%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        assert!("0bit".parse::<Rate>().unwrap_err().contains("up = false"));
        assert!("1Gbit".parse::<Rate>().is_err() && "1K".parse::<Size>().is_err());
    }
}
