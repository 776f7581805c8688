//! The shapes to measure, written as T,B,I,H[,L[,D]].

use std::fmt;
use std::str::FromStr;

/// The sizes of one measurement, by the crate's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub t: usize,
    pub b: usize,
    pub i: usize,
    pub h: usize,
    pub layers: usize,
    pub directions: usize,
}

const fn shape(t: usize, b: usize, i: usize, h: usize, layers: usize, directions: usize) -> Shape {
    Shape { t, b, i, h, layers, directions }
}

/// The shape of a tutorial, a single step, a single row, and those of DeepBench's list that the literature reports on.
pub const DEFAULT: [Shape; 8] = [
    shape(10, 3, 100, 20, 4, 1),
    shape(1, 1, 128, 128, 1, 1),
    shape(100, 1, 64, 256, 1, 1),
    shape(150, 16, 256, 256, 1, 1),
    shape(25, 16, 512, 512, 1, 1),
    shape(25, 64, 512, 512, 1, 1),
    shape(50, 4, 1536, 1536, 1, 1),
    shape(100, 8, 128, 256, 2, 2),
];

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        let numbers = numbers.map_err(|error| format!("{error} in {text:?}"))?;
        let (sizes, rest) = numbers.split_at_checked(4).ok_or("expected T,B,I,H[,L[,D]]")?;
        let (layers, directions) = match *rest {
            [] => (1, 1),
            [layers] => (layers, 1),
            [layers, directions @ 1..=2] => (layers, directions),
            _ => return Err("expected T,B,I,H[,L[,D]] with D 1 or 2".to_owned()),
        };
        let &[t, b, i, h] = sizes else { return Err("expected T,B,I,H[,L[,D]]".to_owned()) };
        if [t, b, i, h, layers].contains(&0) {
            return Err("every size must be at least 1".to_owned());
        }
        Ok(shape(t, b, i, h, layers, directions))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { t, b, i, h, layers, directions } = self;
        write!(f, "{t},{b},{i},{h},{layers},{directions}")
    }
}
