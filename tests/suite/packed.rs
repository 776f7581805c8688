//! Packed sequences: PyTorch's parts, there and back.

use wgpu_rnn::{PackedSequence, Tensor};

use crate::golden::fixtures;
use crate::support::uniform;

#[test]
fn parts_are_pytorchs() {
    let mut seen = 0;
    for path in fixtures() {
        let file = wgpu_rnn::TensorFile::open(&path).unwrap();
        let integers = |name: &str| -> Option<Vec<usize>> {
            file.integers(name).unwrap().map(|all| all.into_iter().map(|n| n as usize).collect())
        };
        // PyTorch packs what its own layers read.
        let (Some(lengths), Some(_)) = (integers("lengths"), file.shape("packed.data")) else { continue };
        let tensor = |name: &str| file.tensor::<f64>(name).unwrap().unwrap();
        let batch_first = tensor("batch_first").data()[0] == 1.0;
        let input = tensor("input");
        let packed = PackedSequence::pack(&input, &lengths, batch_first).unwrap();
        let name = path.display();
        // PyTorch's sort is free to exchange rows of equal length; with its order, everything else follows.
        let theirs = integers("packed.sorted_indices").unwrap();
        let of_sorted = |rows: &[usize]| rows.iter().map(|&row| lengths[row]).collect::<Vec<_>>();
        assert_eq!(of_sorted(packed.sorted_indices()), of_sorted(&theirs), "{name}");
        assert_eq!(packed.batch_sizes(), integers("packed.batch_sizes").unwrap(), "{name}");
        let arrived =
            PackedSequence::from_parts(tensor("packed.data"), packed.batch_sizes().to_vec(), theirs.clone()).unwrap();
        assert_eq!(arrived.unsorted_indices().unwrap(), integers("packed.unsorted_indices").unwrap(), "{name}");
        let steps = input.shape()[usize::from(batch_first)];
        let (padded, padded_lengths) = arrived.pad(batch_first, -7.0, Some(steps)).unwrap();
        assert_eq!(
            (&padded, &padded_lengths),
            (&packed.pad(batch_first, -7.0, Some(steps)).unwrap().0, &lengths),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen >= 13, "{seen}");
}

#[test]
fn what_is_packed_is_padded_back() {
    let lengths = [3, 1, 5, 5, 2];
    for (batch_first, shape) in [(false, [5, 5, 2]), (true, [5, 5, 2])] {
        let x = uniform(&shape, 1);
        let packed = PackedSequence::pack(&x, &lengths, batch_first).unwrap();
        assert_eq!(packed.sorted_indices(), [2, 3, 0, 4, 1]);
        assert_eq!(packed.batch_sizes(), [5, 4, 3, 2, 2]);
        let (padded, back) = packed.pad(batch_first, 9.0, Some(6)).unwrap();
        assert_eq!(back, lengths);
        for (row, &length) in lengths.iter().enumerate() {
            for t in 0..6 {
                let at = if batch_first { [row, t, 1] } else { [t, row, 1] };
                let expected = if t < length { x.get(&at) } else { Some(9.0) };
                assert_eq!(padded.get(&at), expected, "row {row}, time {t}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let x = Tensor::<f32>::zeros([3, 2, 1]).unwrap();
    let pack = |lengths: &[usize]| PackedSequence::pack(&x, lengths, false).unwrap_err().to_string();
    assert_eq!(pack(&[1]), "lengths: expected shape [2] (a length for each batch row), got [1]");
    let range = "lengths: expected lengths from 1 to T, the time steps of the input, got";
    assert_eq!(pack(&[0, 3]), format!("{range} 0 for row 0, with T = 3"));
    assert_eq!(pack(&[1, 4]), format!("{range} 4 for row 1, with T = 3"));
    let flat = Tensor::<f32>::zeros([3, 1]).unwrap();
    let error = PackedSequence::pack(&flat, &[3], true).unwrap_err().to_string();
    assert_eq!(error, "input: expected shape [B, T, I], got [3, 1]");
    let packed = PackedSequence::pack(&x, &[1, 3], false).unwrap();
    let error = packed.pad(false, 0.0, Some(2)).unwrap_err().to_string();
    assert_eq!(error, "total_length: expected at least the longest row, got 2, with a row of 3");

    let parts = |rows: usize, sizes: &[usize], sorted: &[usize]| {
        let data = Tensor::<f32>::zeros([rows, 1]).unwrap();
        PackedSequence::from_parts(data, sizes.to_vec(), sorted.to_vec()).unwrap_err().to_string()
    };
    assert_eq!(parts(3, &[1, 2], &[0, 1]), "batch_sizes: expected sizes > 0 that do not grow, got [1, 2]");
    assert_eq!(parts(2, &[2, 0], &[0, 1]), "batch_sizes: expected sizes > 0 that do not grow, got [2, 0]");
    let rows = "sorted_indices: expected the rows 0..batch_sizes[0], each once, got";
    assert_eq!(parts(3, &[2, 1], &[0, 0]), format!("{rows} [0, 0]"));
    assert_eq!(parts(3, &[2, 1], &[0]), format!("{rows} [0]"));
    assert_eq!(parts(4, &[2, 1], &[1, 0]), "data: expected shape [sum of batch_sizes, I], got [4, 1]");
    assert_eq!(parts(0, &[usize::MAX, 1], &[]), format!("{rows} []"));
}
