"""A GRU over whole sequences whose gradients end at the borders of windows: truncated backpropagation through time.

    r, u, n' = W_x x_t + b_x + W_h h_(t-1) + b_h        reset, update, new; as `torch.nn.GRU` has them (Cho et al. 2014)
    n = tanh(n'_x + sigmoid(r) n'_h),   h_t = (1 - sigmoid(u)) n + sigmoid(u) h_(t-1)

States go on from window to window, and gradients do not: for those, all windows are one large batch. Forward, `nn.GRU` has to
go through the sequence twice: once for the states at the borders, and then through all windows with gradients. Here it is once,
with few rows and many steps, in which a step costs what it takes to read W_h. Backward, `nn.GRU` adds up W_h's gradient step by
step, and here it is one product.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gru(rnn: nn.GRU, x: Tensor, state: Tensor, window: int) -> Tensor:
    """The last layer's states (batch, steps, hidden) for x (batch, steps, inputs).

    state: (layers, batch, hidden) before the first step, which gets the first window's gradient; window: in steps
    On a processor it is written out; elsewhere `nn.GRU` has kernels for whole sequences, which are worth going through twice.
    """
    if x.device.type != "cpu":
        return by_library(rnn, x, state, window)
    W = dict(rnn.named_parameters())
    with torch.autocast("cpu", enabled=False):
        for layer in range(rnn.num_layers):
            gates = F.linear(x.to(state.dtype), W[f"weight_ih_l{layer}"], W[f"bias_ih_l{layer}"])
            x = _Recurrence.apply(gates, W[f"weight_hh_l{layer}"], W[f"bias_hh_l{layer}"], state[layer], window)
    return x


def by_library(rnn: nn.GRU, x: Tensor, state: Tensor, window: int) -> Tensor:
    """`gru`, by `nn.GRU`, whose autocast would be to float16, whatever was asked for."""
    batch, steps, _ = x.shape
    states, x = [state], x.to(state.dtype)
    with torch.autocast(x.device.type, enabled=False):
        with torch.no_grad():
            for first in range(0, steps - window, window):
                states.append(rnn(x[:, first : first + window], states[-1])[1])
        windows = F.pad(x, (0, 0, 0, -steps % window)).unflatten(1, (-1, window)).flatten(0, 1)
        outputs, _ = rnn(windows, torch.stack(states, 2).flatten(1, 2))
    return outputs.reshape(batch, -1, outputs.shape[-1])[:, :steps]


class _Recurrence(torch.autograd.Function):
    """One layer: (batch, steps, H) of gates, W_x x + b_x, (batch, steps, 3 H); W: (3 H, H); b: (3 H,); state: (batch, H)."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, W: Tensor, b: Tensor, state: Tensor, window: int) -> Tensor:
        (batch, steps, _), H = gates.shape, W.shape[1]
        keep = any(ctx.needs_input_grad)
        new = gates.new_empty
        outputs = new(batch, steps, H)
        # what backward needs of each step; otherwise all steps share the place of one
        rows = steps if keep else 1
        both, news, hidden_news = new(batch, rows, 2 * H), new(batch, rows, H), new(batch, rows, H)
        W_t, hidden, h = W.t().contiguous(), new(batch, 3 * H), state
        for t, out in enumerate(outputs.unbind(1)):
            k = t if keep else 0
            torch.addmm(b, h, W_t, out=hidden)
            ru, n = torch.add(hidden[:, : 2 * H], gates[:, t, : 2 * H], out=both[:, k]).sigmoid_(), news[:, k]
            hidden_news[:, k] = hidden[:, 2 * H :]
            torch.addcmul(gates[:, t, 2 * H :], ru[:, :H], hidden[:, 2 * H :], out=n).tanh_()
            h = torch.lerp(n, h, ru[:, H:], out=out)
        if keep:
            ctx.save_for_backward(W, state, outputs, both, news, hidden_news)
            ctx.window = window
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        W, state, outputs, both, news, hidden_news = ctx.saved_tensors
        (batch, steps, H), window = outputs.shape, min(ctx.window, outputs.shape[1])
        d_outputs, before = gradients[0], torch.cat([state[:, None], outputs[:, :-1]], 1)

        # (steps of a window, batch * windows, ...): all windows are one batch, and those that are not whole end in zeros
        def windows(x: Tensor) -> Tensor:
            whole = F.pad(x, (0, 0, 0, -steps % window))
            return whole.view(batch, -1, window, x.shape[2]).permute(2, 0, 1, 3).flatten(1, 2)

        d_outputs, before, both, news, hidden_news = (windows(x) for x in (d_outputs, before, both, news, hidden_news))
        d_hidden, d_news = torch.empty_like(both[..., :1]).expand(-1, -1, 3 * H).contiguous(), torch.empty_like(news)
        d_h = torch.zeros_like(news[0])
        for t in reversed(range(window)):
            r, u = both[t].split(H, 1)
            n, d_gates = news[t], d_hidden[t]
            d_h += d_outputs[t]
            d_n = torch.mul(d_h, 1 - u, out=d_news[t])
            torch.ops.aten.tanh_backward.grad_input(d_n, n, grad_input=d_n)
            torch.mul(d_n, r, out=d_gates[:, 2 * H :])
            d_ru = torch.cat([d_n * hidden_news[t], d_h * (before[t] - n)], 1)
            torch.ops.aten.sigmoid_backward.grad_input(d_ru, both[t], grad_input=d_gates[:, : 2 * H])
            d_h = torch.addmm(d_h.mul_(u), d_gates, W, out=d_h)
        d_W = d_hidden.flatten(0, 1).t() @ before.flatten(0, 1)

        def in_order(x: Tensor) -> Tensor:
            return x.unflatten(1, (batch, -1)).permute(1, 2, 0, 3).flatten(1, 2)[:, :steps]

        d_gates = torch.cat([in_order(d_hidden[..., : 2 * H]), in_order(d_news)], 2)
        return d_gates, d_W, d_hidden.sum((0, 1)), d_h.view(batch, -1, H)[:, 0], None
