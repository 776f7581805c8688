"""Train the graph-convolutional LSTM of the example on synthetic traffic, and record what NumPy computes from it.

The model is the TGC-LSTM of Cui, Henrickson, Ke and Wang, "Traffic Graph Convolutional Recurrent Neural Network",
IEEE Transactions on Intelligent Transportation Systems 21 (2019), arXiv 1802.07007, with the neighbour vector of the
authors' published code (github.com/zhiyongc/Graph_Convolutional_LSTM). With D roads, K hops, and (.) elementwise:

    A~      = A + I, the roads that a road leads to, and itself
    A~^k    clamped to 1: the roads within k hops
    FFR     the roads that free-flowing traffic reaches within MINUTES_TO_REACH
    g_t^k   = (W_gc^k (.) A~^k (.) FFR) x_t             k = 1..K, graph convolution
    g_t     = [g_t^1, .., g_t^K]                        [K*D]
    n       = (A~^K (.) FFR) w_n                        neighbour vector, [D]
    f, i, o = sigmoid(W_{f,i,o} [g_t, h] + b_{f,i,o})   gates
    c~      = tanh(W_c [g_t, h] + b_c)
    c       = f (.) (n (.) c) + i (.) c~
    h       = o (.) tanh(c)                             the prediction of x_{t+1}

x is congestion: 0 at free flow, 1 at standstill. There is no real traffic in this file: incidents slow a road down, the
jam spreads to the roads that lead there, and dissolves.

    python examples/graph_lstm/reference.py     # needs numpy, torch and safetensors; writes traffic.safetensors

The expected output is computed in float64 from the float32 weights, and with it a bound of what float32 arithmetic may
change: a running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, section 3.3).
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

SEED = 0
ROADS = 24
HOPS = 3
SIDE_KM = 12.0
MINUTES_TO_REACH = 4.0
FREE_FLOW_KM_H = 100.0
TRAIN_STEPS = 2000
HELD_OUT_STEPS = 400
TIME_STEPS = 12  # an hour of measurements every five minutes
BATCH = 4  # hours
EPOCHS = 300
GATES = ["forget", "input", "output", "cell"]


def road_graph(rng):
    """A and FFR, both [D, D] of 0 and 1: roads are neighbours if their middles are close."""
    place = rng.uniform(0, SIDE_KM, (ROADS, 2))
    distance = np.linalg.norm(place[:, None] - place[None], axis=2)
    adjacency = np.zeros((ROADS, ROADS))
    for i in range(ROADS):
        adjacency[i, np.argsort(distance[i])[1:3]] = 1
    adjacency = np.maximum(adjacency, adjacency.T)
    # Along the roads, by Floyd and Warshall.
    along = np.where(adjacency > 0, distance, np.inf)
    np.fill_diagonal(along, 0)
    for k in range(ROADS):
        along = np.minimum(along, along[:, k : k + 1] + along[k : k + 1])
    return adjacency, (along <= FREE_FLOW_KM_H * MINUTES_TO_REACH / 60).astype(float)


def traffic(rng, adjacency, steps):
    """Congestion of every road, [steps, D]."""
    spread = adjacency / adjacency.sum(1, keepdims=True)
    jam = np.zeros(ROADS)
    record = []
    for _ in range(steps + 50):
        incidents = (rng.random(ROADS) < 0.01) * rng.uniform(0.5, 1.0, ROADS)
        jam = 0.55 * jam + 0.35 * spread @ jam + incidents
        record.append(np.clip(jam + 0.01 * rng.standard_normal(ROADS), 0, 0.95))
    return np.array(record[50:], dtype=np.float32)  # without the empty start


def reachable(adjacency, ffr):
    """A~^k (.) FFR for k = 1..K, [K, D, D]."""
    step, power, hops = adjacency + np.eye(ROADS), np.eye(ROADS), []
    for _ in range(HOPS):
        power = np.minimum(power @ step, 1)
        hops.append(power * ffr)
    return np.stack(hops)


class TgcLstm(nn.Module):
    def __init__(self, hops):
        super().__init__()
        self.register_buffer("hops", torch.tensor(hops, dtype=torch.float32))
        bound = ROADS**-0.5
        uniform = lambda *shape: nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
        self.gc = uniform(HOPS, ROADS, ROADS)
        self.neighbor = nn.Parameter(torch.full((ROADS,), 1 / float(hops[-1].sum(1).mean())))
        for gate in GATES:
            self.add_module(gate, nn.Linear(HOPS * ROADS + ROADS, ROADS))

    def forward(self, x):
        """[T, B, D] to h [T, B, D]."""
        h = c = torch.zeros(x.shape[1], ROADS)
        n, out = self.hops[-1] @ self.neighbor, []
        for x_t in x:
            g = torch.einsum("kij,bj->bki", self.gc * self.hops, x_t).flatten(1)
            f, i, o, cell = (getattr(self, gate)(torch.cat([g, h], 1)) for gate in GATES)
            c = torch.sigmoid(f) * (n * c) + torch.sigmoid(i) * torch.tanh(cell)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return torch.stack(out)


def train(model, record):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    starts = np.arange(0, len(record) - TIME_STEPS - 1, TIME_STEPS)
    for _ in range(EPOCHS):
        windows = np.stack([record[start : start + TIME_STEPS + 1] for start in starts], axis=1)
        windows = torch.tensor(windows)
        loss = (model(windows[:-1]) - windows[1:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        starts = starts + 1 if starts[-1] + TIME_STEPS + 2 < len(record) else starts - starts[0]
    return loss.item()


U = 2.0**-24  # the rounding of a float32 operation
# WGSL lets exp be off by 3 + 2|x| units in the last place, of 2 U each, and a division by 2.5; a sigmoid is at most
# 0.9 * 2 U off by the one, as sigma'(x) * (3 + 2|x|) is nowhere above 0.9, and 5 U by the other; two more operations
# round. tanh may be off by 1e-5.
SIGMOID_ERROR = 9 * U
TANH_ERROR = 1e-5


def gamma(terms):
    return terms * U / (1 - terms * U)


def sigmoid(z, error):
    """sigma(z), and how far it is from sigma of something within `error` of z."""
    value = 1 / (1 + np.exp(-z))
    nearest = 1 / (1 + np.exp(np.maximum(np.abs(z) - error, 0)))  # where sigma is steepest
    return value, nearest * (1 - nearest) * error + SIGMOID_ERROR


def tanh(z, error):
    nearest = np.tanh(np.maximum(np.abs(z) - error, 0))
    return np.tanh(z), (1 - nearest**2) * error + TANH_ERROR


def product(a, a_error, b, b_error):
    """a*b in float32 arithmetic, elementwise."""
    error = np.abs(a) * b_error + np.abs(b) * a_error + a_error * b_error
    return a * b, error + U * (np.abs(a * b) + error)


def forward(weights, hops, x):
    """h of every step, the last c, and the bound of each."""
    filters = (weights["gc.weight"] * hops).reshape(HOPS * ROADS, ROADS)
    neighbors = hops[-1] @ weights["neighbor.weight"]
    neighbors_error = gamma(ROADS) * (hops[-1] @ np.abs(weights["neighbor.weight"]))
    h = c = h_error = c_error = np.zeros(x.shape[1:])
    out, bounds = [], []
    for x_t in x:
        g, g_error = x_t @ filters.T, gamma(ROADS) * np.abs(x_t) @ np.abs(filters.T)
        read, error = np.concatenate([g, h], 1), np.concatenate([g_error, h_error], 1)

        def gate(name, activation):
            w, b = weights[f"gates.{name}.weight"], weights[f"gates.{name}.bias"]
            z, size = read @ w.T + b, (np.abs(read) + error) @ np.abs(w.T) + np.abs(b)
            return activation(z, error @ np.abs(w.T) + gamma(w.shape[1] + 3) * size)

        f, i, o, cell = (gate(name, tanh if name == "cell" else sigmoid) for name in GATES)
        kept, new = product(*f, *product(neighbors, neighbors_error, c, c_error)), product(*i, *cell)
        c, c_error = kept[0] + new[0], kept[1] + new[1]
        c_error = c_error + U * (np.abs(c) + c_error)
        h, h_error = product(*o, *tanh(c, c_error))
        out.append(h)
        bounds.append(h_error)
    return np.stack(out), c, np.stack(bounds), c_error


def main():
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    adjacency, ffr = road_graph(rng)
    hops = reachable(adjacency, ffr)
    record = traffic(rng, adjacency, TRAIN_STEPS + HELD_OUT_STEPS)
    model = TgcLstm(hops)
    loss = train(model, record[:TRAIN_STEPS])

    weights = {"gc.weight": model.gc, "neighbor.weight": model.neighbor}
    for gate in GATES:
        linear = getattr(model, gate)
        weights |= {f"gates.{gate}.weight": linear.weight, f"gates.{gate}.bias": linear.bias}
    weights = {name: tensor.detach().numpy() for name, tensor in weights.items()}
    starts = TRAIN_STEPS + np.arange(BATCH) * (HELD_OUT_STEPS // BATCH)
    window = np.stack([record[start : start + TIME_STEPS + 1] for start in starts], axis=1)
    x, truth = window[:-1], window[1:]
    in_f64 = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    output, c_n, output_bound, c_bound = forward(in_f64, hops, x.astype(np.float64))
    with torch.no_grad():
        difference = np.abs(model(torch.tensor(x)).numpy() - output)
    assert (difference <= output_bound).all(), difference.max()

    km_h = lambda error: FREE_FLOW_KM_H * np.abs(error).mean()
    largest = [np.abs(array).max() for array in (output, c_n, hops[-1] @ in_f64["neighbor.weight"])]
    print(f"{int(adjacency.sum()) // 2} links, {hops.sum(2).mean(1)} roads within reach, training loss {loss:.2e}")
    print(f"mean error {km_h(output - truth):.2f} km/h, of no change {km_h(x - truth):.2f} km/h")
    print("h, c and n within", *(f"{value:.2f}" for value in largest))
    print(f"bounds up to {output_bound.max():.1e} for h, {c_bound.max():.1e} for c; PyTorch: {difference.max():.1e}")
    arrays = {"adjacency": adjacency, "free_flow_reachable": ffr, "input": x, "target": truth}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()} | weights
    arrays |= {"output": output, "c_n": c_n, "output_bound": output_bound, "c_n_bound": c_bound}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(arrays, Path(__file__).with_name("traffic.safetensors"))


if __name__ == "__main__":
    main()
