"""Train the LSTM of the CO2 forecast example, and record PyTorch's own forecast.

The weekly Mauna Loa CO2 record is split at SPLIT. A 2-layer LSTM with a linear
head learns on the weeks before it, reads them all in one pass, and forecasts
the remaining weeks in closed loop: each prediction is the next step's input.
Nothing from SPLIT onwards is used for fitting, normalisation or any choice.

    python examples/forecast/train.py              # train, save, score
    python examples/forecast/train.py --validate   # what the settings were chosen by
    python examples/forecast/train.py --seed 1     # another seed: how far results spread

Definitions, with t the row number in co2.csv counted from 0:

    y[t]       CO2 in ppm; missing weeks are interpolated linearly
    line(t)    growth[0] + growth[1] * t, the expected change in ppm from t-1 to t
    z[t]       (y[t] - y[t-1] - line(t)) / std
    phase(t)   2 pi * 7 t / 365.2425
    input(t)   z[t-1], then sin and cos of phase(t), then sin and cos of 2 phase(t)
    target(t)  z[t]
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

SPLIT = "19940101"  # first held-out week
VALIDATION = [("19780101", "19860101"), ("19820101", "19900101"), ("19860101", "19940101")]

HIDDEN = 32
LAYERS = 2
HARMONICS = 2
DAYS_PER_YEAR = 365.2425
WEEKS_PER_YEAR = 52  # of the seasonal baselines
DRIFT_YEARS = 10

SEED = 0
STEPS = 300
BATCH = 16
WARM_UP = 156  # weeks read before each training forecast
HORIZON = 104  # weeks of each training forecast
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-2
CLIP = 1.0


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1 + 2 * HARMONICS, HIDDEN, LAYERS)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x, state=None):
        """[T, B, features] to the predicted z [T, B, 1], and the state after step T."""
        out, state = self.lstm(x, state)
        return self.head(out), state


def load(path):
    """Dates as YYYYMMDD strings and CO2 in ppm, one entry a week, no gaps."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    dates = [row["date"] for row in rows]
    ppm = np.array([float(row["co2"] or "nan") for row in rows])
    known = np.flatnonzero(np.isfinite(ppm))
    return dates, np.interp(np.arange(len(ppm)), known, ppm[known])


def week_of(dates, day):
    """The first week on or after a day; YYYYMMDD strings sort like the days."""
    return next(t for t, date in enumerate(dates) if date >= day)


def season(weeks):
    """sin and cos of each harmonic of the yearly phase, [len(weeks), 2 * HARMONICS]."""
    phase = 2 * np.pi * 7 * weeks / DAYS_PER_YEAR
    return np.stack([f(k * phase) for k in range(1, HARMONICS + 1) for f in (np.sin, np.cos)], -1)


def line(norm, weeks):
    growth = norm["norm.growth"].double().numpy()
    return growth[0] + growth[1] * weeks


def fit_norm(history):
    """The constants of z, from the weeks before the split.

    CO2 rises faster every decade, so the average change of the past is too slow
    for the future. A parabola through the levels, fitted along with the seasons,
    has a straight line as its weekly change: that line is taken out of z.
    """
    weeks = np.arange(len(history))
    u = weeks / 1000  # keeps the least squares well conditioned
    columns = np.column_stack([np.ones_like(u), u, u**2, season(weeks)])
    _, b, c = np.linalg.lstsq(columns, history, rcond=None)[0][:3]
    b, c = b / 1000, c / 1000**2
    # b t + c t^2 less the same at t - 1
    norm = {"norm.growth": torch.tensor([b - c, 2 * c], dtype=torch.float32)}
    left = np.diff(history) - line(norm, weeks[1:])
    norm["norm.std"] = torch.tensor([left.std()], dtype=torch.float32)
    return norm


def normalise(norm, history):
    """z as float64; z[0] has no week before it and is never used."""
    z = np.zeros(len(history))
    z[1:] = (np.diff(history) - line(norm, np.arange(1, len(history)))) / norm["norm.std"].item()
    return z


def unroll(model, z, state, seasons):
    """The closed loop: feeds the prediction z [1, B, 1] back once per row of seasons."""
    out = [z]
    for row in seasons:
        z, state = model(torch.cat([z, row[None]], -1), state)
        out.append(z)
    return torch.cat(out)


def train(history, norm, seed=SEED):
    """Learns from random spans: reads WARM_UP weeks, then forecasts HORIZON weeks.

    The forecast runs in closed loop and is scored on the level, in ppm. A model
    scored only one week ahead would leave small biases to pile up over years.

    Returns the model, and what another program needs to train the same one: the first weights, and for each step the
    first week of each span, the learning rate, beta1 (which the schedule changes as well) and the loss.
    """
    torch.manual_seed(seed)
    model = Forecaster()
    trace = {f"before.{key}": value.clone() for key, value in model.state_dict().items()}
    starts, losses, rates, momenta = [], [], [], []
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=STEPS, pct_start=0.1
    )
    z = torch.tensor(normalise(norm, history), dtype=torch.float32)[:, None]
    seasons = torch.tensor(season(np.arange(len(history))), dtype=torch.float32)
    span = torch.arange(WARM_UP + HORIZON)[:, None]
    for step in range(1, STEPS + 1):
        # the weeks predicted, [WARM_UP + HORIZON, BATCH]; week 2 is the first with an input
        starts.append(torch.randint(2, len(history) - len(span) + 1, (BATCH,)))
        weeks = starts[-1] + span
        read, ahead = weeks[: WARM_UP + 1], weeks[WARM_UP + 1 :]
        out, state = model(torch.cat([z[read - 1], seasons[read]], -1))
        one_week = (out - z[read]).square().mean()
        forecast = unroll(model, out[-1:], state, seasons[ahead])
        level = torch.cumsum(forecast - z[weeks[WARM_UP:]], 0) * norm["norm.std"]
        loss = one_week + level.square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        losses.append(loss.item())
        rates.append(optimiser.param_groups[0]["lr"])
        momenta.append(optimiser.param_groups[0]["betas"][0])
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"  step {step:3}: loss {loss.item():.3f}", flush=True)
    trace["starts"] = torch.stack(starts)
    for key, values in (("losses", losses), ("learning_rates", rates), ("beta1s", momenta)):
        trace[key] = torch.tensor(values, dtype=torch.float64)
    return model, trace


@torch.no_grad()
def forecast(model, history, norm, count, dtype=torch.float32):
    """CO2 in ppm for the `count` weeks after the history, as float64."""
    model = model.to(dtype)
    n = len(history)
    z = torch.tensor(normalise(norm, history), dtype=dtype)
    seasons = torch.tensor(season(np.arange(n + count)), dtype=dtype)
    x = torch.cat([z[1:, None], seasons[2 : n + 1]], -1)[:, None]
    out, state = model(x)
    ahead = unroll(model, out[-1:], state, seasons[n + 1 :, None]).flatten().double().numpy()
    model.float()
    # levels are summed in float64: float32 has steps of 3e-5 ppm up there
    changes = ahead * norm["norm.std"].item() + line(norm, np.arange(n, n + count))
    return history[-1] + np.cumsum(changes)


def baselines(history, norm, count):
    """Three forecasts that repeat the last year of the history."""
    n = len(history)
    weeks = np.arange(n, n + count)
    years = (weeks - n) // WEEKS_PER_YEAR + 1
    same_week = weeks - WEEKS_PER_YEAR * years
    naive = history[same_week]
    first = n - DRIFT_YEARS * WEEKS_PER_YEAR
    rise = history[-WEEKS_PER_YEAR:].mean() - history[first - WEEKS_PER_YEAR : first].mean()
    grown = np.cumsum(line(norm, np.arange(n + count)))
    return {
        "seasonal naive": naive,
        "seasonal naive + drift": naive + years * rise / DRIFT_YEARS,
        "seasonal naive + growth line": naive + grown[weeks] - grown[same_week],
    }


def score(name, predicted, actual):
    error = predicted - actual
    rmse, mae = np.sqrt(np.square(error).mean()), np.abs(error).mean()
    print(f"  {name:29} RMSE {rmse:6.3f}   MAE {mae:6.3f}   last week {error[-1]:+6.2f}   ppm")


def fit_and_score(ppm, dates, start, end, seed=SEED):
    """Trains on the weeks before `start`, forecasts up to `end`, prints the errors."""
    history, actual = ppm[:start], ppm[start:end]
    print(f"{start} weeks to {dates[start - 1]}, forecast {dates[start]} to {dates[end - 1]}")
    began = time.time()
    norm = fit_norm(history)
    model, trace = train(history, norm, seed)
    print(f"  trained in {time.time() - began:.0f} s")
    predicted = forecast(model, history, norm, len(actual))
    score("LSTM", predicted, actual)
    for name, values in baselines(history, norm, len(actual)).items():
        score(name, values, actual)
    return model, norm, predicted, trace


def main():
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=here / "co2.csv")
    parser.add_argument("--out", type=Path, default=here, help="folder for the two files")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="score forecasts within the years before the split; save nothing",
    )
    parser.add_argument("--seed", type=int, help="train and score with another seed; save nothing")
    args = parser.parse_args()

    torch.set_num_threads(1)  # the order of sums must not depend on the number of cores
    torch.use_deterministic_algorithms(True)
    dates, ppm = load(args.data)
    if args.validate:
        for start, end in VALIDATION:
            fit_and_score(ppm, dates, week_of(dates, start), week_of(dates, end))
        return

    split = week_of(dates, SPLIT)
    if args.seed is not None:
        fit_and_score(ppm, dates, split, len(ppm), args.seed)
        return
    model, norm, predicted, trace = fit_and_score(ppm, dates, split, len(ppm))
    exact = forecast(model, ppm[:split], norm, len(predicted), torch.float64)
    rounding = np.abs(predicted - exact).max()
    print(f"  float32 and float64 forecasts differ by at most {rounding:.1e} ppm")

    args.out.mkdir(parents=True, exist_ok=True)
    save_file({**model.state_dict(), **norm}, args.out / "co2_lstm.safetensors")
    saved = torch.tensor(predicted, dtype=torch.float32)
    save_file({"forecast_ppm": saved}, args.out / "co2_forecast.safetensors")
    save_file(trace, args.out / "co2_training.safetensors")
    print(f"saved co2_lstm, co2_forecast and co2_training (.safetensors) in {args.out}")


if __name__ == "__main__":
    main()
