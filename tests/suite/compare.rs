//! Comparison of arrays: which elements are wrong, where, and by how much. The comparison has failing tests of its own.

use std::fmt;

use wgpu_rnn::Real;

/// The bound within which an element fits, `absolute + relative·|expected|`; NaN fits NaN, and an infinity fits itself.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

impl Tolerance {
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0 };

    pub fn both(bound: f64) -> Self {
        Self { absolute: bound, relative: bound }
    }

    /// Returns the bound for an f32 sum of `terms` products whose absolute values add up to about 1, which rounds by at
    /// most terms·ε.
    pub fn of_f32_sum(terms: usize) -> Self {
        Self::both(terms as f64 * f64::from(f32::EPSILON))
    }

    fn accepts(self, got: f64, expected: f64) -> bool {
        if got.is_nan() || expected.is_nan() {
            return got.is_nan() && expected.is_nan();
        }
        // An infinity fits only itself: any bound relative to it would be infinite.
        let finite = got.is_finite() && expected.is_finite();
        got == expected || finite && (got - expected).abs() <= self.absolute + self.relative * expected.abs()
    }
}

/// The elements that do not fit.
pub struct Mismatch {
    what: String,
    tolerance: Tolerance,
    compared: usize,
    /// (position, got, expected)
    wrong: Vec<(usize, f64, f64)>,
}

impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tolerance { absolute, relative } = self.tolerance;
        let (wrong, compared) = (self.wrong.len(), self.compared);
        writeln!(f, "{}: {wrong} of {compared} elements beyond {absolute:.1e} + {relative:.1e}·|expected|", self.what)?;
        for (at, got, expected) in self.wrong.iter().take(5) {
            let error = (got - expected).abs();
            let relative = error / expected.abs();
            writeln!(f, "  [{at}] got {got:e}, expected {expected:e}: off by {error:.1e}, relative {relative:.1e}")?;
        }
        Ok(())
    }
}

pub fn compare<F: Real, G: Real>(what: &str, got: &[F], expected: &[G], tolerance: Tolerance) -> Result<(), Mismatch> {
    assert_eq!(got.len(), expected.len(), "{what}: number of elements");
    let pairs = got.iter().zip(expected).map(|(g, e)| (g.to_f64(), e.to_f64())).enumerate();
    let wrong: Vec<_> = pairs.filter(|&(_, (g, e))| !tolerance.accepts(g, e)).map(|(at, (g, e))| (at, g, e)).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Mismatch { what: what.to_owned(), tolerance, compared: got.len(), wrong })
}

#[test]
fn fitting_elements_are_accepted() {
    compare(
        "x",
        &[1.0_f32, 0.0, f32::NAN, f32::INFINITY],
        &[1.0_f64, 1e-7, f64::NAN, f64::INFINITY],
        Tolerance::both(1e-6),
    )
    .unwrap();
    compare::<f32, f32>("x", &[], &[], Tolerance::EXACT).unwrap();
}

#[test]
fn elements_that_do_not_fit_are_found() {
    let t = Tolerance::both(1e-6);
    for (got, expected) in [
        (1.0, 1.00001),
        (f32::NAN, 0.0),
        (0.0, f32::NAN),
        (f32::INFINITY, 1.0),
        (f32::INFINITY, f32::NEG_INFINITY),
        (-1.0, 1.0),
    ] {
        let mismatch = compare("x", &[0.5, got], &[0.5, expected], t).expect_err("must not fit");
        assert_eq!(mismatch.wrong.len(), 1, "{got} {expected}");
        assert_eq!(mismatch.wrong[0].0, 1);
    }
    assert!(compare("x", &[1.0_f64], &[1.0 + f64::EPSILON], Tolerance::EXACT).is_err());
}

#[test]
fn a_report_shows_the_first_five() {
    let mismatch = compare("y", &[1.0_f32; 9], &[2.0_f32; 9], Tolerance::both(0.1)).expect_err("must not fit");
    let report = format!("{mismatch:?}");
    assert!(report.contains("y: 9 of 9 elements"), "{report}");
    assert!(report.contains("[4] got 1e0, expected 2e0: off by 1.0e0, relative 5.0e-1"), "{report}");
    assert!(!report.contains("[5]"), "{report}");
}

#[test]
#[should_panic(expected = "number of elements")]
fn missing_elements_are_found() {
    let _ = compare("x", &[1.0_f32], &[1.0_f32, 2.0], Tolerance::EXACT);
}
