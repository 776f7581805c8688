//! Losing a device is an error, and what only resembles a loss is none.

use wgpu_rnn::{Device, Error, GpuOptions, wgpu};

use crate::support::{bits, gpu, own_device, small_lstm, uniform};

#[test]
fn a_lost_device_is_an_error_not_a_panic() {
    if gpu().is_none() {
        return;
    }
    let x = uniform(&[4, 2, 3], 3);
    // A device opened by the crate learns of its loss.
    let own = Device::gpu(&GpuOptions::new()).unwrap();
    let model_on_own = small_lstm().to(&own).unwrap();
    model_on_own.forward(&x, None).unwrap();
    own.wgpu().unwrap().0.destroy();
    for _ in 0..2 {
        let error = model_on_own.forward(&x, None).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
    assert!(matches!(small_lstm().to(&own), Err(Error::DeviceLost { .. })));

    // A caller's device reports nothing until a result is waited for: still an error, whichever call is first.
    let (device, queue) = own_device(|_| {});
    let model = small_lstm().to(&Device::from_wgpu(device.clone(), queue)).unwrap();
    model.forward(&x, None).unwrap();
    device.destroy();
    for _ in 0..2 {
        let error = model.forward(&x, None).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
}

/// Passes that are alive when the device is lost end with the error, whatever they are given.
#[test]
fn a_device_lost_within_a_pass_is_an_error_not_a_panic() {
    if gpu().is_none() {
        return;
    }
    let (x, dy) = (uniform(&[4, 2, 3], 3), uniform(&[4, 2, 5], 4));
    let (device, queue) = own_device(|_| {});
    for device in [Device::gpu(&GpuOptions::new()).unwrap(), Device::from_wgpu(device, queue)] {
        let model = small_lstm().to(&device).unwrap();
        let passes = [Some(&dy), None].map(|given| (model.forward_train(&x, None).unwrap(), given));
        let given_up = model.forward_train(&x, None).unwrap();
        device.wgpu().unwrap().0.destroy();
        for (pass, given) in passes {
            let error = pass.backward(given, None).map(drop).unwrap_err();
            assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        }
        drop(given_up);
        let error = model.forward_train(&x, None).map(drop).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    }
}

/// wgpu runs a program's own callbacks on whichever thread polls; a panic resumes there, and the device stays usable.
#[test]
fn a_panic_in_a_callback_of_the_program_is_no_device_loss() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|_| {});
    let model = small_lstm().to(&Device::from_wgpu(device.clone(), queue)).unwrap();
    let x = uniform(&[4, 2, 3], 3);
    let expected = bits(&model.forward(&x, None).unwrap().0);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let readback =
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false });
    readback.map_async(wgpu::MapMode::Read, .., |_| panic!("deliberate"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.forward(&x, None)));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "deliberate");
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), expected);
}
