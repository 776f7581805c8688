//! The collections that an array takes its elements from.

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

/// Elements that [`Tensor::new`](crate::Tensor::new) and [`TensorFile::from_bytes`](crate::TensorFile::from_bytes) take
/// over: a `Vec` as it is, a slice or an array by a copy. Unlike `Into<Vec<T>>`, a copy for which there is no memory is
/// an error. Sealed.
pub trait IntoElements<T>: sealed::Sealed {
    /// The elements in a vector; `what` names them in an error.
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
