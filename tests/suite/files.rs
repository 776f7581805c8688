//! Opening files: their contents are described without loading them, and the intended model is loaded.

use std::collections::BTreeMap;

use safetensors::{Dtype, tensor::TensorView};
use wgpu_rnn::{
    AnyLayer, Cell, Config, Error, Gru, GruCell, GruCellConfig, GruConfig, Kind, LayerKind, Lstm, LstmCell,
    LstmCellConfig, LstmConfig, Nonlinearity, Rnn, RnnCell, RnnCellConfig, RnnConfig, Tensor, TensorFile,
};

use crate::support::uniform;

/// Writes a checkpoint with several models, other tensors and metadata.
fn checkpoint(path: &std::path::Path) {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| folder.path().join(name);
    let lstm = LstmConfig::new(3, 5).with_num_layers(2).with_bidirectional(true);
    Lstm::random(lstm, 1).unwrap().save_safetensors(part("lstm"), "encoder.").unwrap();
    Lstm::random(LstmConfig::new(4, 6).with_proj_size(2), 2).unwrap().save_safetensors(part("proj"), "p.").unwrap();
    Gru::random(GruConfig::new(2, 3).with_bias(false), 3).unwrap().save_safetensors(part("gru"), "decoder.").unwrap();
    Rnn::random(RnnConfig::new(2, 3), 4).unwrap().save_safetensors(part("rnn"), "").unwrap();
    GruCell::random(GruCellConfig::new(7, 8), 5).unwrap().save_safetensors(part("cell"), "cell.").unwrap();
    let files = ["lstm", "proj", "gru", "rnn", "cell"].map(|name| TensorFile::open(part(name)).unwrap());
    let mut tensors = vec![("head.weight".to_owned(), uniform(&[9, 2], 6))];
    for file in &files {
        tensors.extend(file.names().map(|name| (name.to_owned(), file.tensor(name).unwrap().unwrap())));
    }
    let named: Vec<_> = tensors.iter().map(|(name, tensor)| (name, tensor)).collect();
    let text = BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("nonlinearity".to_owned(), "relu".to_owned())]);
    TensorFile::save_with_metadata(path, &named, &text).unwrap();
}

#[test]
fn a_file_describes_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    checkpoint(&path);
    let file = TensorFile::open(&path).unwrap();
    let layers: Vec<_> = file.layers().iter().map(ToString::to_string).collect();
    assert_eq!(
        layers,
        [
            "RNN(2, 3, nonlinearity=relu) under \"\", F32",
            "GRU(2, 3, bias=false) under \"decoder.\", F32",
            "LSTM(3, 5, num_layers=2, bidirectional=true) under \"encoder.\", F32",
            "LSTM(4, 6, proj_size=2) under \"p.\", F32",
        ]
    );
    let cells: Vec<_> = file.cells().iter().map(ToString::to_string).collect();
    assert_eq!(cells, ["GRUCell(7, 8) under \"cell.\", F32"]);
    let encoder = file.layer("encoder.").unwrap();
    assert_eq!((encoder.kind, encoder.num_layers, encoder.batch_first), (LayerKind::Lstm, 2, None));
    assert_eq!((file.dtype("head.weight"), file.dtype("nothing")), (Some(Dtype::F32), None));
    assert_eq!(file.metadata()["format"], "pt");
    assert!(matches!(file.layer("nothing."), Err(Error::NoModel { .. })));
    assert!(matches!(file.cell("encoder."), Err(Error::NoModel { .. })));
    let debug = format!("{file:?}");
    assert!(debug.len() < 120 + path.display().to_string().len() && debug.contains("tensors: "), "{debug}");
}

/// Each layer matches the description of [`TensorFile::layer`], and no other is loaded.
#[test]
fn any_layer_is_the_layer_of_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    checkpoint(&path);
    let file = TensorFile::open(&path).unwrap();
    for info in file.layers() {
        let any = AnyLayer::from_tensor_file(&file, &info.prefix).unwrap();
        assert_eq!(format!("{any} under {:?}, F32", info.prefix), info.to_string());
        assert_eq!((any.kind(), any.input_size(), any.hidden_size()), (info.kind, info.input_size, info.hidden_size));
        assert_eq!(
            (any.num_layers(), any.bidirectional(), any.bias()),
            (info.num_layers, info.bidirectional, info.bias)
        );
        let same = match info.kind {
            LayerKind::Lstm => AnyLayer::from(Lstm::from_tensor_file(&file, &info.prefix).unwrap()),
            LayerKind::Gru => Gru::from_tensor_file(&file, &info.prefix).unwrap().into(),
            LayerKind::Rnn => Rnn::from_tensor_file(&file, &info.prefix).unwrap().into(),
            other => panic!("{other}"),
        };
        assert_eq!(any, same);
        let again = folder.path().join("again");
        any.save_safetensors(&again, "x.").unwrap();
        assert_eq!(AnyLayer::from_safetensors(&again, "x.").unwrap(), any);
        assert!(any.with_batch_first(true).batch_first());
    }
    assert!(AnyLayer::from_tensor_file(&file, "no.").is_err());
}

/// The file is sparse and larger than any machine's memory: opening it and reading one layer must not read the rest.
#[cfg(target_os = "linux")]
#[test]
fn a_layer_is_read_from_a_file_larger_than_memory() {
    use std::io::{Seek, SeekFrom, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge");
    let lstm = Lstm::random(LstmConfig::new(2, 3).with_bias(false), 1).unwrap();
    let (ih, hh) = (lstm.layers()[0].weight_ih(), lstm.layers()[0].weight_hh());
    let huge: u64 = 1 << 42;
    let (a, b) = (huge + 4 * ih.data().len() as u64, huge + 4 * (ih.data().len() + hh.data().len()) as u64);
    let entry = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
    };
    let tensors = [
        entry("huge", &(huge / 4).to_string(), 0, huge),
        entry("weight_ih_l0", "12,2", huge, a),
        entry("weight_hh_l0", "12,3", a, b),
    ];
    let header = format!("{{{}}}", tensors.join(","));
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    if file.seek(SeekFrom::Current(huge as i64)).and_then(|_| file.set_len(8 + header.len() as u64 + b)).is_err() {
        eprintln!("SKIPPED: the file system does not support files of 4 TiB");
        return;
    }
    for tensor in [ih, hh] {
        tensor.data().iter().for_each(|v| file.write_all(&v.to_le_bytes()).unwrap());
    }
    assert_eq!(Lstm::from_safetensors(&path, "").unwrap(), lstm);
}

#[test]
fn threads_read_one_file_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let tensors: Vec<(String, Tensor)> = (0..8).map(|k| (format!("t{k}"), uniform(&[30_000], k))).collect();
    let named: Vec<_> = tensors.iter().map(|(name, tensor)| (name, tensor)).collect();
    TensorFile::save(&path, &named).unwrap();
    let file = TensorFile::open(&path).unwrap();
    std::thread::scope(|scope| {
        for (name, tensor) in &tensors {
            let file = &file;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert!(file.tensor::<f32>(name).unwrap().unwrap() == *tensor, "{name}");
                }
            });
        }
    });
}

#[test]
fn a_file_that_is_truncated_while_open_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    TensorFile::save(&path, &[("x", &uniform(&[100], 1))]).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    let file = TensorFile::open(&path).unwrap();
    let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for less in 1..size {
        writer.set_len(size - less).unwrap();
        let error = file.tensor::<f32>("x").unwrap_err();
        assert!(matches!(&error, Error::Io { action: "read", .. }), "{error}");
        if less >= 400 {
            break;
        }
    }
}

/// The defect: a header whose ranges overlap, leave gaps, or contradict shape and type.
#[test]
fn invalid_ranges_are_errors() {
    let file = |tensors: &str, data: usize| {
        let header = format!("{{{tensors}}}");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat();
        TensorFile::from_bytes(bytes)
    };
    let one = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| format!("{a},{b}");
    assert!(file(&two(one("a", 0, 8), one("b", 8, 16)), 16).is_ok());
    assert!(file(&two(one("b", 8, 16), one("a", 0, 8)), 16).is_ok());
    assert!(file(&two(one("a", 0, 8), one("b", 4, 12)), 12).is_err());
    assert!(file(&two(one("a", 0, 8), one("b", 12, 20)), 20).is_err());
    assert!(file(&two(one("a", 0, 8), one("b", 8, 17)), 17).is_err());
    assert!(file(&one("a", 8, 0), 8).is_err());
    assert!(file(&one("a", 4, 12), 12).is_err());
    let overflow = format!(r#""a":{{"dtype":"F32","shape":[{0},{0},0],"data_offsets":[0,0]}}"#, usize::MAX);
    assert!(file(&overflow, 0).is_err());
    // A header length that would overflow, or exceed the available memory.
    for length in [u64::MAX, u64::MAX - 7, 1 << 40, 100_000_001] {
        assert!(TensorFile::from_bytes([&length.to_le_bytes()[..], b"{}"].concat()).is_err());
    }
}

/// Writes a file as PyTorch does: names and shapes only.
fn without_metadata<K: Kind>(config: Config<K>, path: &std::path::Path) {
    wgpu_rnn::Layer::random(config, 1).unwrap().save_safetensors(path, "p.").unwrap();
    let file = TensorFile::open(path).unwrap();
    let tensors: Vec<_> = file.names().map(|name| (name, file.tensor::<f32>(name).unwrap().unwrap())).collect();
    let named: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    TensorFile::save(path, &named).unwrap();
}

#[test]
fn a_configuration_is_compared_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    without_metadata(LstmConfig::new(3, 5).with_num_layers(2).with_batch_first(true), &path);
    // The file does not record the argument; the configuration states it.
    let gru = GruConfig::new(2, 3).with_reset_after(false);
    let gru_path = folder.path().join("gru");
    without_metadata(gru.clone(), &gru_path);
    assert!(Gru::from_safetensors(&gru_path, "p.").unwrap().config().reset_after());
    assert_eq!(Gru::from_safetensors_with(gru.clone(), &gru_path, "p.").unwrap().config(), &gru);
    assert!(!Lstm::from_safetensors(&path, "p.").unwrap().config().batch_first());
    let config = LstmConfig::new(3, 5).with_num_layers(2).with_batch_first(true).with_dropout(0.5);
    let lstm = Lstm::from_safetensors_with(config.clone(), &path, "p.").unwrap();
    assert_eq!(lstm.config(), &config);
    assert_eq!(lstm.layers(), Lstm::from_safetensors(&path, "p.").unwrap().layers());

    let other = LstmConfig::new(4, 5).with_bias(false).with_bidirectional(true).with_proj_size(2);
    let error = Lstm::from_safetensors_with(other, &path, "p.").unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer under prefix \"p.\" differs from the configuration: input_size: expected 4, got 3; \
         num_layers: expected 1, got 2; bias: expected false, got true; bidirectional: expected true, got false; \
         proj_size: expected 2, got 0"
    );
    let Error::ConfigMismatch { mismatches, .. } = error else { panic!("{error:?}") };
    assert_eq!((mismatches.len(), mismatches[1].argument, &*mismatches[1].got), (5, "num_layers", "2"));
    let error = Gru::from_safetensors_with(GruConfig::new(3, 5).with_num_layers(2), &path, "p.").unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor p.weight_hh_l0: expected shape [3·H, H] of the GRU (4·H rows are an LSTM's), got [20, 5]"
    );
    assert!(matches!(
        Lstm::from_safetensors_with(LstmConfig::new(0, 5), &path, "p."),
        Err(Error::Config { argument: "input_size", .. })
    ));

    LstmCell::random(LstmCellConfig::new(3, 5), 1).unwrap().save_safetensors(&path, "c.").unwrap();
    assert!(LstmCell::from_safetensors_with(LstmCellConfig::new(3, 5), &path, "c.").is_ok());
    let error = LstmCell::from_safetensors_with(LstmCellConfig::new(3, 6), &path, "c.").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cell under prefix \"c.\" differs from the configuration: hidden_size: expected 6, got 5"
    );
}

/// A saved model is read back as the same model, including its configuration.
#[test]
fn saving_records_the_arguments_that_weights_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for batch_first in [false, true] {
        for nonlinearity in [Nonlinearity::Tanh, Nonlinearity::Relu] {
            let config =
                RnnConfig::new(2, 3).with_num_layers(2).with_batch_first(batch_first).with_nonlinearity(nonlinearity);
            let rnn = Rnn::random(config.with_dropout(0.25), 1).unwrap();
            rnn.save_safetensors(&path, "a.").unwrap();
            assert_eq!(Rnn::from_safetensors(&path, "a.").unwrap(), rnn);
            let info = TensorFile::open(&path).unwrap().layer("a.").unwrap();
            assert_eq!((info.batch_first, info.nonlinearity), (Some(batch_first), Some(nonlinearity)));

            let cell: Cell<_> = RnnCell::random(RnnCellConfig::new(2, 3).with_nonlinearity(nonlinearity), 1).unwrap();
            let cell_path = folder.path().join("cell");
            cell.save_safetensors(&cell_path, "a.").unwrap();
            assert_eq!(RnnCell::from_safetensors(&cell_path, "a.").unwrap(), cell);
        }
    }
    for reset_after in [false, true] {
        let gru = Gru::random(GruConfig::new(2, 3).with_reset_after(reset_after), 1).unwrap();
        gru.save_safetensors(&path, "a.").unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(Gru::from_tensor_file(&file, "a.").unwrap(), gru);
        assert_eq!(AnyLayer::from_tensor_file(&file, "a.").unwrap(), AnyLayer::from(gru.clone()));
        let info = file.layer("a.").unwrap();
        assert_eq!((info.reset_after, info.nonlinearity), (Some(reset_after), None));
        assert_eq!(info.to_string(), format!("{gru} under \"a.\", F32"));
        // The other form is a different layer, which the setter creates.
        let other = GruConfig::new(2, 3).with_reset_after(!reset_after);
        assert_eq!(
            Gru::from_safetensors_with(other.clone(), &path, "a.").unwrap_err().to_string(),
            format!(
                "layer under prefix \"a.\" differs from the configuration: reset_after: expected {}, got {reset_after}",
                !reset_after
            )
        );
        assert_eq!(gru.clone().with_reset_after(!reset_after), Gru::new(other, gru.layers().to_vec()).unwrap());

        let cell = GruCell::random(GruCellConfig::new(2, 3), 1).unwrap().with_reset_after(reset_after);
        let cell_path = folder.path().join("cell");
        cell.save_safetensors(&cell_path, "a.").unwrap();
        assert_eq!(GruCell::from_safetensors(&cell_path, "a.").unwrap(), cell);
        let other = GruCellConfig::new(2, 3).with_reset_after(!reset_after);
        assert!(matches!(
            GruCell::from_safetensors_with(other, &cell_path, "a."),
            Err(Error::ConfigMismatch { mismatches, .. }) if mismatches.len() == 1
        ));
    }
    // A file that records batch-first is not run time-first because a configuration omits it.
    Lstm::random(LstmConfig::new(2, 3).with_batch_first(true), 1).unwrap().save_safetensors(&path, "a.").unwrap();
    assert_eq!(
        Lstm::from_safetensors_with(LstmConfig::new(2, 3), &path, "a.").unwrap_err().to_string(),
        "layer under prefix \"a.\" differs from the configuration: batch_first: expected false, got true"
    );
}

#[test]
fn metadata_is_read_as_python_writes_it() {
    let weights = [("a.weight_ih_l0", vec![3, 2]), ("a.weight_hh_l0", vec![3, 3])];
    let zeros = [0; 36];
    let load = |metadata: &[(&str, &str)]| {
        let views = weights.iter().map(|(name, shape)| {
            let size: usize = 4 * shape.iter().product::<usize>();
            (*name, TensorView::new(Dtype::F32, shape.clone(), &zeros[..size]).unwrap())
        });
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let file = TensorFile::from_bytes(safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
        Rnn::from_tensor_file(&file, "a.").map(|rnn| rnn.config().to_string())
    };
    assert_eq!(load(&[("a.batch_first", "True")]).unwrap(), "RNN(2, 3, bias=false, batch_first=true)");
    assert_eq!(load(&[("a.batch_first", "False"), ("b.batch_first", "True")]).unwrap(), "RNN(2, 3, bias=false)");
    assert_eq!(load(&[("a.nonlinearity", "relu")]).unwrap(), "RNN(2, 3, bias=false, nonlinearity=relu)");
    assert_eq!(
        load(&[("a.batch_first", "maybe")]).unwrap_err().to_string(),
        "batch_first: expected true or false in the file's metadata, got \"maybe\""
    );
    // Not an argument of an RNN.
    assert_eq!(load(&[("a.reset_after", "False")]).unwrap(), "RNN(2, 3, bias=false)");
    assert_eq!(
        load(&[("a.reset_after", "0")]).unwrap_err().to_string(),
        "reset_after: expected true or false in the file's metadata, got \"0\""
    );
    assert!(load(&[("a.dropout", "2")]).is_err());
    assert!(load(&[("a.dropout", "NaN")]).is_err());
    assert!(load(&[("a.nonlinearity", "sigmoid")]).is_err());
}

/// The default is f32; f64 is requested by name.
#[test]
fn the_number_type_is_inferred() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let double = Lstm::random(LstmConfig::new(2, 3), 1).unwrap().cast::<f64>().unwrap();
    double.save_safetensors(&path, "").unwrap();
    let file = TensorFile::open(&path).unwrap();
    let single = Lstm::from_tensor_file(&file, "").unwrap();
    assert_eq!(single.cast::<f64>().unwrap(), double);
    assert_eq!(Lstm::from_tensor_file_as::<f64>(&file, "").unwrap(), double);
}
