//! Files of PyTorch and NumPy as bags of tensors; `tests/fixtures/containers/make.py` wrote them.

use std::path::PathBuf;

use wgpu_rnn::{Error, Gru, GruConfig, TensorFile};

use crate::support::{bits, message};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/containers").join(name)
}

/// The tensors of each file are those of a safetensors file beside it.
#[test]
fn tensors_are_those_that_pytorch_and_numpy_wrote() {
    for (name, expected) in [
        ("checkpoint.pt", "checkpoint"),
        ("checkpoint.legacy.pt", "checkpoint"),
        ("module.pt", "module"),
        ("module_inside.legacy.pt", "module_inside"),
        ("views.pt", "views"),
        ("dtypes.pt", "dtypes"),
        ("dtypes_big_endian.pt", "dtypes"),
        ("numbers.npz", "numbers"),
        ("numbers_compressed.npz", "numbers"),
    ] {
        let expected = TensorFile::open(path(&format!("{expected}.safetensors"))).unwrap();
        let from_bytes = TensorFile::from_bytes(std::fs::read(path(name)).unwrap()).unwrap();
        for file in [TensorFile::open(path(name)).unwrap(), from_bytes] {
            assert_eq!(file.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>(), "{name}");
            for tensor in expected.names() {
                assert_eq!((file.shape(tensor), file.dtype(tensor)), (expected.shape(tensor), expected.dtype(tensor)));
                match (file.tensor::<f64>(tensor), expected.tensor::<f64>(tensor)) {
                    (Ok(Some(got)), Ok(Some(expected))) => assert_eq!(bits(&got), bits(&expected), "{name}: {tensor}"),
                    (Err(got), Err(expected)) => assert_eq!(got.to_string(), expected.to_string()),
                    (got, _) => panic!("{name}: {tensor}: {got:?}"),
                }
                assert_eq!(file.integers(tensor).ok(), expected.integers(tensor).ok(), "{name}: {tensor}");
            }
        }
    }
}

#[test]
fn what_is_no_array_of_numbers_says_why_it_is_not_read() {
    let file = TensorFile::open(path("rejected.pt")).unwrap();
    let quantised = message(file.tensor::<f32>("quantised"));
    assert!(quantised.contains("quantised"), "{quantised}");
    assert!(file.tensor::<f32>("absent").unwrap().is_none());
    assert!(matches!(TensorFile::open(path("torchscript.pt")), Err(Error::Unsupported { .. })));
}

#[test]
fn tensors_get_the_names_that_a_program_wants() {
    let gru = Gru::random(GruConfig::new(3, 4), 1).unwrap();
    let tensors: Vec<_> = gru.named().map(|(name, tensor)| (name.replace("weight", "w"), tensor)).collect();
    let bytes = TensorFile::serialize(&tensors).unwrap();
    let open = || TensorFile::from_bytes(bytes.as_slice()).unwrap();
    let renamed = open().renamed(&[("w_ih_l0", "weight_ih_l0"), ("w_hh_l0", "weight_hh_l0")]).unwrap();
    assert_eq!(Gru::from_tensor_file(&renamed, "").unwrap(), gru);
    let swapped = open().renamed(&[("bias_ih_l0", "bias_hh_l0"), ("bias_hh_l0", "bias_ih_l0")]).unwrap();
    assert_eq!(swapped.tensor::<f32>("bias_ih_l0").unwrap().as_ref(), gru.layers()[0].bias_hh());
    assert_eq!(
        message(open().renamed(&[("w_ih", "weight_ih_l0")])),
        "no tensor \"w_ih\"; the file has [\"bias_hh_l0\", \"bias_ih_l0\", \"w_hh_l0\", \"w_ih_l0\"]"
    );
    let twice = message(open().renamed(&[("w_ih_l0", "bias_ih_l0")]));
    assert_eq!(twice, "tensor bias_ih_l0 does not fit: bias_ih_l0 has the name already");
}

/// A module that is saved whole records what a state_dict() does not.
#[test]
fn whole_modules_record_their_arguments() {
    for (name, batch_first) in [("module.pt", false), ("module_batch_first.pt", true)] {
        let layers = TensorFile::open(path(name)).unwrap().layers();
        assert!(!layers.is_empty());
        assert!(layers.iter().all(|layer| layer.batch_first == Some(batch_first)), "{layers:?}");
    }
}
