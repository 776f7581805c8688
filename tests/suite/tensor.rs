//! Arrays on the host: shapes, views, indices, conversions.

use wgpu_rnn::{Error, Tensor, TensorView};

use crate::support::{message, uniform, zeros};

#[test]
fn the_first_dimension_is_selected_without_a_copy() {
    let x = uniform(&[4, 3, 2], 1);
    for i in 0..4 {
        let at_i = x.select(i).unwrap();
        assert_eq!(at_i.shape(), [3, 2]);
        assert!(std::ptr::eq(at_i.data(), &x.data()[i * 6..(i + 1) * 6]));
        for j in 0..3 {
            assert_eq!(at_i.select(j).unwrap().data(), x.row(&[i, j]).unwrap());
        }
    }
    assert_eq!(x.select(4), None);
    let scalar = Tensor::new([], [1.0_f32]).unwrap();
    assert_eq!(scalar.select(0), None);
    assert_eq!(scalar[[]], 1.0);
    let empty = Tensor::<f32>::zeros([2, 0]).unwrap();
    assert_eq!(empty.select(1).unwrap().shape(), [0]);
    assert_eq!(empty.select(2), None);
}

#[test]
fn reshape_does_not_move_the_elements() {
    let x = uniform(&[4, 6], 1);
    let (copy, at) = (x.clone(), x.data().as_ptr());
    let x = x.reshape([2, 2, 6]).unwrap();
    assert_eq!((x.data().as_ptr(), x.shape()), (at, &[2, 2, 6][..]));
    assert_eq!(x, copy.view([2, 2, 6]).unwrap());
    let error = x.reshape([5, 5]).unwrap_err();
    assert!(matches!(error, Error::Length { expected: 25, got: 24, .. }), "{error}");
}

#[test]
fn an_index_reads_and_writes() {
    let mut x = Tensor::new([2, 3], [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    assert_eq!((x[[1, 2]], x.as_view()[[0, 1]]), (5.0, 1.0));
    x[[1, 0]] = 7.0;
    assert_eq!(x.get(&[1, 0]), Some(7.0));
    for index in [[2, 0], [0, 3], [usize::MAX, 0]] {
        assert_eq!(x.get(&index), None);
        assert!(std::panic::catch_unwind(|| x[index]).is_err());
    }
    assert!(std::panic::catch_unwind(|| x[[0]]).is_err());
}

#[test]
fn a_list_is_an_array_of_one_dimension() {
    let x: Tensor = vec![1.0, 2.0].into();
    assert_eq!(x, Tensor::new([2], vec![1.0, 2.0]).unwrap());
}

#[test]
fn views_are_checked_like_arrays() {
    let data = [1.0_f32, 2.0, 3.0, 4.0];
    let view = TensorView::new([2, 2], &data).unwrap();
    assert_eq!(view, Tensor::new([2, 2], data).unwrap());
    assert_eq!(view.to_tensor().unwrap(), view);
    let message = TensorView::new([3, 2], &data).unwrap_err().to_string();
    assert_eq!(message, "view: shape [3, 2] holds 6 elements, got 4");
    // Sizes whose product cannot be addressed are rejected wherever a zero is.
    for shape in [[usize::MAX, 2, 0], [usize::MAX, 0, 2], [0, usize::MAX, 2]] {
        assert!(matches!(Tensor::<f32>::zeros(shape), Err(Error::TooLarge { .. })), "{shape:?}");
        assert!(matches!(TensorView::<f32>::new(shape, &[]), Err(Error::TooLarge { .. })), "{shape:?}");
    }
}

#[test]
fn debug_does_not_print_a_million_numbers() {
    let x = Tensor::<f32>::zeros([1000, 1000]).unwrap();
    let printed = format!("{x:?}");
    let zeros = "0.0, ".repeat(7) + "0.0";
    assert_eq!(printed, format!("Tensor {{ shape: [1000, 1000], data: [{zeros}, … 999992 more] }}"));
    assert_eq!(
        format!("{:?}", TensorView::new([2], &[1.0_f32, -2.5]).unwrap()),
        "TensorView { shape: [2], data: [1.0, -2.5] }"
    );
}

#[cfg(feature = "ndarray")]
mod with_ndarray {
    use ndarray::{Array, Array2, ArrayD, ArrayViewD, Axis, s};

    use super::*;

    #[test]
    fn arrays_are_converted_both_ways_without_a_copy() {
        let x = uniform(&[4, 3], 1);
        let (copy, at) = (x.clone(), x.data().as_ptr());
        let array = ArrayD::from(x);
        assert_eq!((array.as_ptr(), array.shape(), array[[2, 1]]), (at, &[4, 3][..], copy[[2, 1]]));
        let back = Tensor::try_from(array).unwrap();
        assert_eq!((back.data().as_ptr(), &back), (at, &copy));

        let borrowed = ArrayViewD::from(&back);
        assert_eq!((borrowed.as_ptr(), borrowed.shape()), (at, &[4, 3][..]));
        let two = borrowed.into_dimensionality::<ndarray::Ix2>().unwrap();
        let view = TensorView::try_from(&two).unwrap();
        assert_eq!((view.data().as_ptr(), &view), (at, &back.as_view()));
    }

    #[test]
    fn other_orders_are_copied_or_rejected() {
        let array: Array2<f32> = Array::from_shape_fn((4, 3), |(i, j)| (10 * i + j) as f32);
        let transposed = array.t();
        let copy = Tensor::try_from(transposed).unwrap();
        assert_eq!((copy.shape(), copy[[2, 3]]), (&[3, 4][..], 32.0));
        assert_eq!(Tensor::try_from(transposed.to_owned()).unwrap(), copy);
        assert!(matches!(TensorView::try_from(&transposed), Err(Error::Unsupported { .. })));
        assert_eq!(Tensor::try_from(array.slice(s![1..;2, ..])).unwrap().data(), [10.0, 11.0, 12.0, 30.0, 31.0, 32.0]);
        // An owned part of a longer vector, starting in its middle.
        let part = array.clone().slice_move(s![1..3, ..]);
        assert!(part.is_standard_layout());
        assert_eq!(Tensor::try_from(part).unwrap().data(), [10.0, 11.0, 12.0, 20.0, 21.0, 22.0]);
        let mut reversed = array;
        reversed.invert_axis(Axis(0));
        assert_eq!(Tensor::try_from(reversed).unwrap()[[0, 0]], 30.0);
        let empty = Tensor::<f32>::zeros([0, 3]).unwrap();
        assert_eq!(Tensor::try_from(ArrayD::from(empty.clone())).unwrap(), empty);
    }
}

#[test]
fn data_must_fill_a_shape() {
    assert_eq!(message(Tensor::new([2, 3], vec![0.0_f32; 5])), "tensor: shape [2, 3] holds 6 elements, got 5");
    assert_eq!(message(zeros(&[2, 3]).view([4])), "view: shape [4] holds 4 elements, got 6");
    assert_eq!(zeros(&[2, 3]).get(&[2, 0]), None);
    assert_eq!(zeros(&[2, 3]).get(&[0]), None);
}

#[test]
fn elements_and_rows_are_found_or_none() {
    let mut x = Tensor::new([2, 2, 3], (0..12).map(|n| n as f32).collect::<Vec<_>>()).unwrap();
    assert_eq!((x.get(&[1, 0, 2]), x.row(&[1, 0])), (Some(8.0), Some(&[6.0, 7.0, 8.0][..])));
    for outside in [&[2, 0][..], &[0, 2], &[0], &[0, 0, 0], &[]] {
        assert!(x.row(outside).is_none() && x.row_mut(outside).is_none());
    }
    assert_eq!((x.get(&[0, 0]), x.get(&[0, 0, 3])), (None, None));
    x.row_mut(&[0, 1]).unwrap().fill(9.0);
    let view = x.view([4, 3]).unwrap();
    assert_eq!((view.row(&[1]), view.get(&[1, 2])), (Some(&[9.0; 3][..]), Some(9.0)));
    assert_eq!(view.to_tensor().unwrap().shape(), [4, 3]);
    assert_eq!(view.to_tensor().unwrap().data(), x.data());
    let empty = zeros(&[2, 0]);
    assert_eq!((empty.row(&[1]), empty.row(&[2]), empty.get(&[0, 0])), (Some(&[][..]), None, None));
}
