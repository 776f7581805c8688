//! The README's table of PyTorch idioms: each row runs as it is written there.

use wgpu_rnn::{
    Device, Error, Gru, GruConfig, Lstm, LstmCell, LstmCellConfig, LstmConfig, LstmState, Mode, Nonlinearity,
    PackedSequence, Precision, Rnn, RnnConfig, Tensor,
};

use crate::support::uniform;

/// Returns the code in the table's right column.
fn idioms() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| in PyTorch | here |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    // The left column contains pipes and backticks of Python; the right one begins after the last " | ".
    let right = rows.map(|row| row.trim_end_matches(" |").rsplit_once(" | ").unwrap().1);
    right.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Returns code without anything that rustfmt may change.
fn bare(code: &str) -> String {
    code.split_whitespace().collect::<String>().replace(",)", ")")
}

#[test]
fn every_idiom_of_the_readme_runs_here() {
    let here = bare(include_str!("idioms.rs").rsplit("// The rows.").next().unwrap());
    let idioms = idioms();
    assert!(idioms.len() >= 25, "{idioms:?}");
    for idiom in idioms {
        assert!(here.contains(&bare(&idiom)), "does not run here: {idiom}");
    }
}

// The rows.

#[test]
fn configurations() -> Result<(), Error> {
    let seed = 7;
    let config = LstmConfig::new(100, 20).with_num_layers(4).with_bidirectional(true);
    assert_eq!(config.to_string(), "LSTM(100, 20, num_layers=4, bidirectional=true)");
    let lstm = Lstm::random(LstmConfig::new(100, 20), seed)?;
    assert_eq!((lstm.config().num_layers(), lstm.config().batch_first()), (1, false));
    let projected = Lstm::random(LstmConfig::new(100, 20).with_proj_size(8), seed)?;
    assert_eq!(projected.layers()[0].weight_hr().unwrap().shape(), [8, 20]);
    let (gru, rnn) = (GruConfig::new(100, 20), RnnConfig::new(100, 20).with_nonlinearity(Nonlinearity::Relu));
    Gru::random(gru, seed)?;
    assert_eq!(Rnn::random(rnn, seed)?.to_string(), "RNN(100, 20, nonlinearity=relu)");
    let double = lstm.cast::<f64>()?;
    assert_eq!(double.layers()[0].weight_ih().data()[0], f64::from(lstm.layers()[0].weight_ih().data()[0]));
    Ok(())
}

#[test]
fn files_and_devices() -> Result<(), Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = &directory.path().join("model.safetensors");
    let saved = Lstm::random(LstmConfig::new(3, 4), 1)?;
    saved.save_safetensors(path, "")?;
    let lstm = Lstm::from_safetensors(path, "")?;
    assert_eq!(lstm, saved);
    let lstm = Lstm::from_safetensors(path, "")?.with_batch_first(true);
    let x = uniform(&[2, 5, 3], 1);
    assert_eq!(lstm.to(&Device::cpu())?.forward(&x, None)?.1.h.shape(), [1, 2, 4]); // two rows of five steps
    lstm.to(&Device::auto())?;
    let device = Device::cpu();
    let rounded = lstm.place(&device).precision(Precision::F16).run()?;
    assert_ne!(rounded.forward(&x, None)?, lstm.to(&device)?.forward(&x, None)?);
    Ok(())
}

#[test]
fn forwards() -> Result<(), Error> {
    let device = Device::cpu();
    let (x, batch) = (uniform(&[5, 3, 10], 1), 3);
    let lstm = Lstm::random(LstmConfig::new(10, 20), 1)?.to(&device)?;
    let (output, LstmState { h, c }) = lstm.forward(&x, None)?;
    assert_eq!((output.shape(), h.shape(), c.shape()), (&[5, 3, 20][..], &[1, 3, 20][..], &[1, 3, 20][..]));
    let state = LstmState { h, c };
    let (output, state) = lstm.forward(&x, &state)?;
    assert_eq!(output.row(&[4, 2]), state.h.row(&[0, 2]));
    let first = lstm.forward(&x, None)?.1;
    let state = lstm.request(&x).last_state().run()?;
    assert_eq!(state, first);
    let handler = async {
        let (output, _) = lstm.request(&x).await?;
        Ok::<_, Error>(output)
    };
    assert_eq!(pollster::block_on(handler)?, lstm.forward(&x, None)?.0);

    let h_0 = uniform(&[1, 3, 20], 2);
    let gru = Gru::random(GruConfig::new(10, 20), 1)?.to(&device)?;
    let (output, h_n) = gru.forward(&x, &h_0)?;
    assert_eq!(output.row(&[4, 2]), h_n.row(&[0, 2]));

    let cell = LstmCell::new(LstmCellConfig::new(10, 20), lstm.to_layer()?.layers()[0].clone())?.to(&device)?;
    let mut state = cell.zero_state(batch).run()?;
    for t in 0..5 {
        let x_t = Tensor::new([3, 10], &x.data()[t * 30..(t + 1) * 30])?;
        cell.step(&x_t, &mut state)?;
    }
    assert_eq!(state.read().run()?.h.data(), first.h.data());
    Ok(())
}

#[test]
fn lengths_dropout_and_packed_sequences() -> Result<(), Error> {
    let seed = 3;
    let config = LstmConfig::new(100, 20).with_num_layers(2).with_dropout(0.5);
    let lstm = Lstm::random(config.clone(), 1)?.to(&Device::cpu())?;
    let (x, lengths) = (uniform(&[5, 3, 100], 1), [5, 2, 4]);
    let (output, state) = lstm.request(&x).lengths(&lengths).run()?;
    assert!(output.row(&[2, 1]).unwrap().iter().all(|&v| v == 0.0));
    assert_eq!(config.split_output(&output)?.shape(), [5, 3, 1, 20]);
    assert_eq!(config.split_state(&state.h)?.shape(), [2, 1, 3, 20]);
    lstm.set_mode(Mode::Training { seed });
    assert_ne!(lstm.request(&x).lengths(&lengths).run()?.0, output);

    let packed = PackedSequence::pack(&x, &lengths, false)?;
    let data = packed.data().clone();
    let (batch_sizes, sorted_indices) = (packed.batch_sizes().to_vec(), packed.sorted_indices().to_vec());
    let again = PackedSequence::from_parts(data, batch_sizes, sorted_indices)?;
    assert_eq!(again, packed);
    let (padded, of_rows) = packed.pad(false, 0.0, None)?;
    assert_eq!((padded.shape(), of_rows), (x.shape(), lengths.to_vec()));
    Ok(())
}
