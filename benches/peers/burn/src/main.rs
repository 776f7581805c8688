//! burn's LSTM on wgpu: the median time of a forward in milliseconds, for each shape T,B,I,H among the arguments.

use std::time::Instant;

use burn::nn::LstmConfig;
use burn::tensor::{Device, DeviceKind, Distribution, Tensor};

fn main() {
    let device = Device::wgpu(DeviceKind::default());
    for argument in std::env::args().skip(1) {
        let sizes: Vec<usize> = argument.split(',').map(|size| size.parse().expect("T,B,I,H")).collect();
        let &[t, b, i, h] = sizes.as_slice() else { panic!("T,B,I,H") };
        let lstm = LstmConfig::new(i, h, true).with_batch_first(false).init(&device);
        let x = Tensor::<3>::random([t, b, i], Distribution::Default, &device);
        let mut times: Vec<f64> = (0..7)
            .map(|_| {
                let start = Instant::now();
                let (output, _) = lstm.forward(x.clone(), None);
                // Reading the result back is the wait.
                let _ = output.into_data();
                start.elapsed().as_secs_f64() * 1e3
            })
            .skip(2)
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{argument} {:.3}", times[times.len() / 2]);
    }
}
