//! burn's recurrent layers: the median time of a forward in milliseconds, for each shape T,B,I,H. With "train", of a
//! forward and its backward, with the gradients of the input and of every weight and bias.
//!
//! peer-burn [wgpu|flex] [train] [lstm|gru|rnn] SHAPE…

#[path = "../../timing.rs"]
mod timing;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{GruConfig, LstmConfig, RnnConfig};
use burn::tensor::{Device, DeviceKind, Distribution, Gradients, Tensor, Transaction};

fn main() {
    let (mut device, mut train) = (Device::wgpu(DeviceKind::default()), false);
    let mut cell = "lstm".to_owned();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "wgpu" => device = Device::wgpu(DeviceKind::default()),
            "flex" => device = Device::flex(),
            "train" => train = true,
            "lstm" | "gru" | "rnn" => cell = argument,
            shape => {
                let device = if train { device.clone().autodiff() } else { device.clone() };
                println!("{shape} {:.4}", time(&device, &cell, timing::sizes(shape)));
            }
        }
    }
}

fn time(device: &Device, cell: &str, [t, b, i, h]: [usize; 4]) -> f64 {
    // Batch first is burn's own order.
    let x = Tensor::<3>::random([b, t, i], Distribution::Default, device);
    match cell {
        "gru" => {
            let layer = GruConfig::new(i, h, true).init(device);
            calls(&layer, x, h, |layer, x| layer.forward(x, None))
        }
        "rnn" => {
            let layer = RnnConfig::new(i, h, true).init(device);
            calls(&layer, x, h, |layer, x| layer.forward(x, None).0)
        }
        _ => {
            let layer = LstmConfig::new(i, h, true).init(device);
            calls(&layer, x, h, |layer, x| layer.forward(x, None).0)
        }
    }
}

/// Times forwards, or whole passes where x is on a device with autodiff. Reading the results back waits for them.
fn calls<M: Module>(layer: &M, x: Tensor<3>, h: usize, forward: impl Fn(&M, Tensor<3>) -> Tensor<3>) -> f64 {
    if !x.is_autodiff() {
        return timing::median(|| drop(forward(layer, x.clone()).into_data()));
    }
    let [b, t, _] = x.dims();
    let given = Tensor::<3>::random([b, t, h], Distribution::Default, &x.device());
    let x = x.require_grad();
    timing::median(|| {
        let gradients = (forward(layer, x.clone()) * given.clone()).sum().backward();
        let of_x = x.grad(&gradients).expect("the gradient of the input");
        let mut read = Read { gradients, transaction: Transaction::default().register(of_x) };
        layer.visit(&mut read);
        read.transaction.execute();
    })
}

/// Collects the gradients of all parameters, to be read back together, which is faster than one after the other.
struct Read {
    gradients: Gradients,
    transaction: Transaction,
}

impl ModuleVisitor for Read {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(&mut self.gradients).expect("the gradient of every parameter");
        self.transaction = std::mem::take(&mut self.transaction).register(gradient);
    }
}
