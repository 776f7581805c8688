//! Cells that read h of another cell in place.

use wgpu_rnn::{
    Cell, CellConfig, CellState, Device, Error, GpuOptions, GruCell, GruCellConfig, GruKind, Kind, Lstm, LstmCell,
    LstmCellConfig, LstmConfig, LstmKind, Placed, PlacedCell, Real, RnnKind, Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, on_both, reduction_length, slice, uniform};

const I: usize = 5;
const H: [usize; 2] = [9, 6];

fn h<K: Kind, F: Real>(state: &CellState<K, F>) -> Tensor<F> {
    K::arrays(&state.read().run().unwrap())[0].clone()
}

/// Returns the input of step `t`: `[B, I]`, or `[I]`.
fn input(batch: Option<usize>, t: usize) -> Tensor {
    let shape: Vec<usize> = batch.into_iter().chain([I]).collect();
    uniform(&shape, 10 + t as u64)
}

fn cell<K: Kind, F: Real>(device: &Device, input_size: usize, hidden_size: usize) -> PlacedCell<K, F> {
    let cell = Cell::random(CellConfig::<K>::new(input_size, hidden_size), hidden_size as u64).unwrap();
    cell.cast().unwrap().to(device).unwrap()
}

/// Compares cells chained on the device with cells whose h is taken to the host and back.
fn check_chain<K1: Kind, K2: Kind, F: Real>(device: &Device, batch: Option<usize>) {
    let (first, second) = (cell::<K1, F>(device, I, H[0]), cell::<K2, F>(device, H[0], H[1]));
    let mut state1 = first.zero_state(batch).run().unwrap();
    let (mut chained, mut by_hand) = (second.zero_state(batch).run().unwrap(), second.zero_state(batch).run().unwrap());
    for t in 0..6 {
        first.step(&input(batch, t).cast().unwrap(), &mut state1).unwrap();
        if t % 2 == 0 {
            second.step(&state1, &mut chained).unwrap();
        } else {
            pollster::block_on(second.request_step(&state1, &mut chained)).unwrap();
        }
        second.step(&h(&state1), &mut by_hand).unwrap();
        let name = format!("{second} behind {first}, batch {batch:?}, step {t}");
        let (got, expected) = (chained.read().run().unwrap(), by_hand.read().run().unwrap());
        for (got, expected) in K2::arrays(&got).into_iter().zip(K2::arrays(&expected)) {
            assert_eq!((got.shape(), bits(got)), (expected.shape(), bits(expected)), "{name}");
        }
    }
}

#[test]
fn chained_cells_are_cells_with_h_passed_by_hand() {
    on_both(|device| {
        for batch in [None, Some(0), Some(1), Some(3), Some(17)] {
            check_chain::<LstmKind, LstmKind, f32>(device, batch);
            check_chain::<LstmKind, GruKind, f32>(device, batch);
            check_chain::<RnnKind, LstmKind, f32>(device, batch);
        }
    });
    check_chain::<GruKind, LstmKind, f64>(&Device::cpu(), Some(3));
}

#[test]
fn two_chained_cells_are_a_layer_of_two() {
    on_both(|device| {
        let config = LstmConfig::new(I, 8).with_num_layers(2);
        let lstm = Lstm::random(config.clone(), 3).unwrap();
        let placed: Placed<LstmKind> = lstm.to(device).unwrap();
        let cell = |k: usize, input_size| {
            let weights = lstm.layers()[k].clone();
            LstmCell::new(LstmCellConfig::new(input_size, 8), weights).unwrap().to(device).unwrap()
        };
        let (first, second) = (cell(0, I), cell(1, 8));
        let x = uniform(&[12, 3, I], 4);
        let (output, last) = placed.forward(&x, None).unwrap();
        let (mut state1, mut state2) = (first.zero_state(3).run().unwrap(), second.zero_state(3).run().unwrap());
        // Kernels may differ in the order of their sums. States are in ±1 and this LSTM damps what it is given, so the
        // differences of 12 steps do not add up to more than one sum for each.
        let tolerance = Tolerance::of_f32_sum(12 * reduction_length(&config));
        for t in 0..12 {
            first.step(&Tensor::new([3, I], slice(&x, 0, t..t + 1).into_data()).unwrap(), &mut state1).unwrap();
            second.step(&state1, &mut state2).unwrap();
            if t % 4 == 3 {
                let expected = slice(&output, 0, t..t + 1);
                compare("h of the second cell", h(&state2).data(), expected.data(), tolerance).unwrap();
            }
        }
        for (k, state) in [&state1, &state2].into_iter().enumerate() {
            let got = state.read().run().unwrap();
            compare("h_n", got.h.data(), slice(&last.h, 0, k..k + 1).data(), tolerance).unwrap();
            compare("c_n", got.c.data(), slice(&last.c, 0, k..k + 1).data(), tolerance).unwrap();
        }
    });
}

/// An upload to the second cell must not end up in h of the first, whose array the second one read last.
#[test]
fn inputs_of_the_host_between_chained_steps_leave_the_first_cell_alone() {
    on_both(|device| {
        for batch in [None, Some(3)] {
            let (first, second) = (cell::<LstmKind, f32>(device, I, H[0]), cell::<GruKind, f32>(device, H[0], H[1]));
            let mut state1 = first.zero_state(batch).run().unwrap();
            let mut mixed = second.zero_state(batch).run().unwrap();
            let mut by_hand = second.zero_state(batch).run().unwrap();
            let shape: Vec<usize> = batch.into_iter().chain([H[0]]).collect();
            for t in 0..8 {
                first.step(&input(batch, t), &mut state1).unwrap();
                let h1 = h(&state1);
                let own = uniform(&shape, 50 + t as u64);
                // Chained and own inputs in every order of two.
                for (step, chained) in [t & 1 == 0, t & 2 == 0].into_iter().enumerate() {
                    if chained {
                        second.step(&state1, &mut mixed).unwrap();
                        second.step(&h1, &mut by_hand).unwrap();
                    } else {
                        second.step(&own, &mut mixed).unwrap();
                        second.step(&own, &mut by_hand).unwrap();
                    }
                    assert_eq!(bits(&h(&state1)), bits(&h1), "{device}, step {t}.{step}");
                    assert_eq!(bits(&h(&mixed)), bits(&h(&by_hand)), "{device}, step {t}.{step}");
                }
            }
        }
    });
}

/// The second cell reads whichever state it is given, as long as that exists.
#[test]
fn first_states_come_and_go() {
    on_both(|device| {
        let (first, second) = (cell::<LstmKind, f32>(device, I, H[0]), cell::<LstmKind, f32>(device, H[0], H[1]));
        let (mut chained, mut by_hand) = (second.zero_state(2).run().unwrap(), second.zero_state(2).run().unwrap());
        let mut kept = first.zero_state(2).run().unwrap();
        for t in 0..6 {
            first.step(&input(Some(2), t), &mut kept).unwrap();
            let mut brief = first.zero_state(2).run().unwrap();
            first.step(&input(Some(2), 20 + t), &mut brief).unwrap();
            for state1 in [&brief, &kept] {
                second.step(state1, &mut chained).unwrap();
                second.step(&h(state1), &mut by_hand).unwrap();
            }
            // The last state that was read is dropped while the step may still run.
            second.step(&brief, &mut chained).unwrap();
            second.step(&h(&brief), &mut by_hand).unwrap();
            drop(brief);
        }
        drop(kept);
        drop(first);
        assert_eq!(chained.read().run().unwrap(), by_hand.read().run().unwrap(), "{device}");
        second.step(&uniform(&[2, H[0]], 9), &mut chained).unwrap();
        second.step(&uniform(&[2, H[0]], 9), &mut by_hand).unwrap();
        assert_eq!(chained.read().run().unwrap(), by_hand.read().run().unwrap(), "{device}");
    });
}

#[test]
fn states_that_are_no_input_of_a_cell_are_named() {
    on_both(|device| {
        let (first, second) = (cell::<GruKind, f32>(device, I, H[0]), cell::<GruKind, f32>(device, H[0], H[1]));
        let mut state2 = second.zero_state(2).run().unwrap();
        let mut message = |batch: Option<usize>| {
            let state1 = first.zero_state(batch).run().unwrap();
            second.step(&state1, &mut state2).unwrap_err().to_string()
        };
        assert_eq!(message(Some(3)), "input: expected shape [2, 9] ([B, I], as the state is [B, H]), got [3, 9]");
        assert_eq!(message(None), "input: expected shape [2, 9] ([B, I], as the state is [B, H]), got [9]");
        let state1 = second.zero_state(2).run().unwrap();
        assert_eq!(
            second.step(&state1, &mut state2).unwrap_err().to_string(),
            "input: expected shape [B, I] or unbatched [I] with I = 9, got [2, 6]"
        );
        assert!(h(&state2).data().iter().all(|&v| v == 0.0), "a rejected step has moved the state");
    });
}

#[test]
fn a_state_of_another_device_is_no_input() {
    let Some(gpu) = gpu() else { return };
    let devices = [gpu, Device::cpu(), Device::gpu(&GpuOptions::new()).unwrap()];
    let make = |device: &Device| {
        let square = GruCell::random(GruCellConfig::new(4, 4), 1).unwrap().to(device).unwrap();
        let state = square.zero_state(2).run().unwrap();
        (square, state)
    };
    for (i, one) in devices.iter().enumerate() {
        for other in devices.iter().enumerate().filter(|&(j, _)| i != j).map(|(_, device)| device) {
            let ((second, mut state2), (_, state1)) = (make(one), make(other));
            let error = second.step(&state1, &mut state2).unwrap_err();
            assert!(matches!(error, Error::Config { argument: "input", .. }), "{error}");
            assert_eq!(
                error.to_string(),
                "input: expected an array on the host or a state on the device of the cell, \
                 got a state on another device"
            );
            // The state is still usable.
            second.step(&uniform(&[2, 4], 1), &mut state2).unwrap();
        }
    }
    // The CPU is one device, however many threads it may use.
    let ((second, mut state2), (_, state1)) = (make(&Device::cpu()), make(&Device::cpu_with(1).unwrap()));
    second.step(&state1, &mut state2).unwrap();
    // So is the program's own device, however often it is borrowed.
    let (device, queue) = devices[0].wgpu().unwrap();
    let borrowed = Device::from_wgpu(device.clone(), queue.clone());
    let ((second, mut state2), (_, state1)) = (make(&devices[0]), make(&borrowed));
    second.step(&state1, &mut state2).unwrap();
}
