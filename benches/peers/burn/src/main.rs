//! burn's recurrent layers: the median time of a forward in milliseconds, for each shape T,B,I,H.
//!
//! peer-burn [wgpu|flex] [lstm|gru|rnn] SHAPE…

#[path = "../../timing.rs"]
mod timing;

use burn::nn::{GruConfig, LstmConfig, RnnConfig};
use burn::tensor::{Device, DeviceKind, Distribution, Tensor};

fn main() {
    let (mut device, mut cell) = (Device::wgpu(DeviceKind::default()), "lstm".to_owned());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "wgpu" => device = Device::wgpu(DeviceKind::default()),
            "flex" => device = Device::flex(),
            "lstm" | "gru" | "rnn" => cell = argument,
            shape => println!("{shape} {:.4}", time(&device, &cell, timing::sizes(shape))),
        }
    }
}

fn time(device: &Device, cell: &str, [t, b, i, h]: [usize; 4]) -> f64 {
    // Batch first is burn's own order.
    let x = Tensor::<3>::random([b, t, i], Distribution::Default, device);
    // Reading the result back waits for it.
    let read = |output: Tensor<3>| drop(output.into_data());
    match cell {
        "gru" => {
            let layer = GruConfig::new(i, h, true).init(device);
            timing::median(|| read(layer.forward(x.clone(), None)))
        }
        "rnn" => {
            let layer = RnnConfig::new(i, h, true).init(device);
            timing::median(|| read(layer.forward(x.clone(), None).0))
        }
        _ => {
            let layer = LstmConfig::new(i, h, true).init(device);
            timing::median(|| read(layer.forward(x.clone(), None).0))
        }
    }
}
