//! The collections that an array accepts as its elements.

use crate::error::Result;
use crate::memory;

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for Vec<T> {}
    impl<T> Sealed for &[T] {}
    impl<T> Sealed for &Vec<T> {}
    impl<T, const N: usize> Sealed for [T; N] {}
    impl<T, const N: usize> Sealed for &[T; N] {}
}

/// Elements that [`Tensor::new`](crate::Tensor::new) and [`TensorFile::from_bytes`](crate::TensorFile::from_bytes)
/// accept: a `Vec` is used as it is, a slice or an array is copied. Unlike with `Into<Vec<T>>`, running out of memory
/// for a copy is an error. Sealed.
pub trait IntoElements<T>: sealed::Sealed {
    /// Returns the elements as a vector; `what` names them in an error.
    #[doc(hidden)]
    fn into_elements(self, what: &str) -> Result<Vec<T>>;
}

impl<T> IntoElements<T> for Vec<T> {
    fn into_elements(self, _: &str) -> Result<Vec<T>> {
        Ok(self)
    }
}

impl<T: Copy> IntoElements<T> for &[T] {
    fn into_elements(self, what: &str) -> Result<Vec<T>> {
        memory::copied(what, self)
    }
}

impl<T: Copy> IntoElements<T> for &Vec<T> {
    fn into_elements(self, what: &str) -> Result<Vec<T>> {
        memory::copied(what, self)
    }
}

impl<T: Copy, const N: usize> IntoElements<T> for [T; N] {
    fn into_elements(self, what: &str) -> Result<Vec<T>> {
        memory::copied(what, &self)
    }
}

impl<T: Copy, const N: usize> IntoElements<T> for &[T; N] {
    fn into_elements(self, what: &str) -> Result<Vec<T>> {
        memory::copied(what, self)
    }
}
