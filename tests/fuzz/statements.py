"""What random programs are made of, one statement for each ``|``.

``{x}`` and ``{y}`` are floats, ``{i}`` integers, ``{b}`` booleans, ``{t}`` the name of the result,
``{d}`` a dimension of ``{x}``, ``{k}`` a bool.
"""

from __future__ import annotations

STATEMENTS = (
    """
torch.sin({x})|torch.tanh({x})|torch.exp(-{x} * {x})|torch.log({x} * {x} + 0.5)|{x} ** 3
torch.sqrt({x} * {x} + 1)|torch.sigmoid({x})|{x}.abs()|torch.relu({x})|{x}.clamp(-0.5, 0.5)
torch.floor({x})|torch.round({x})|{x} % 0.3|2 - {x}|{x} / 2|{x}.detach()|torch.expm1({x})
torch.nn.functional.elu({x})|torch.nn.functional.softplus({x})|torch.reciprocal({x} * {x} + 1)
torch.cos({x}) * 0.5|torch.log1p({x}.abs())|torch.sign({x})|torch.nn.functional.silu({x})
torch.nn.functional.leaky_relu({x}, 0.1)|torch.nn.functional.gelu({x})|torch.erf({x})
torch.atan({x})|torch.nn.functional.logsigmoid({x})|torch.square({x})|torch.trunc({x} * 3)
torch.nan_to_num({x})|torch.frac({x} * 1.5)|{x}.clamp(min=0.1)|torch.nn.functional.hardtanh({x})
{x} + {y}|{x} * {y}|{x} - {y}|{x} / ({y} * {y} + 1)|torch.maximum({x}, {y})
torch.minimum({x}, {y})|torch.where({x} > {y}, {x}, {y} * 2)|({x} * {x} + 1) ** {y}
torch.lerp({x}, {y}, 0.3)|torch.nn.functional.mse_loss({x}, {y})|torch.clamp({x}, max={y})
torch.nn.functional.smooth_l1_loss({x}, {y})|torch.addcmul({x}, {y}, {y})|torch.hypot({x}, {y} + 2)
torch.atan2({x}, {y} * {y} + 1)|torch.addcdiv({x}, {y}, {y} * {y} + 1)|torch.logaddexp({x}, {y})
torch.copysign({x}, {y})|torch.xlogy({x}, {y} * {y} + 1)|torch.fmod({x}, 0.7)
torch.nn.functional.huber_loss({x}, {y})|torch.nn.functional.l1_loss({x}, {y})
{x}.sum({d}, keepdim={k})|{x}.mean({d}, keepdim={k})|{x}.amax({d}, keepdim={k})
{x}.var({d})|torch.logsumexp({x}, {d})|{x}.norm(dim={d})|{x}.prod({d})|{x}.max({d}).values
{x}.std({d}, correction=0, keepdim={k})|{x}.amin({d})|{x}.min({d}).values|{x}.mean()
{x}.argmax({d})|torch.softmax({x}, {d})|torch.log_softmax({x}, {d})|{x}.cumsum({d})|{x}.flip({d})
torch.linalg.vector_norm({x}, 3, {d})|{x}.cumprod({d})|torch.logcumsumexp({x}, {d})
torch.cummax({x}, {d}).values|{x}.sort({d}).values|{x}.sort({d}, descending={k}).indices
({x} + torch.arange({x}.numel()).reshape({x}.shape) / 256).topk(1, {d}).values
{x}.median({d}).values|{x}.argmin({d})|({x} > 0).any({d})|{x}.diff(dim={d})
torch.nn.functional.normalize({x}, dim={d})|torch.nn.functional.layer_norm({x}, {x}.shape[-1:])
{x} @ {y}|{x} @ {y}.mT|torch.einsum("...i,...i->...", {x}, {y})|torch.outer({x}, {y})
torch.einsum("ij,ik->jk", {x}, {y})|torch.tensordot({x}, {y}, 1)|torch.einsum("ii->i", {x})
torch.addmm({x}, {x}, {y}, beta=0.5)|torch.linalg.multi_dot([{x}, {y}, {x}])|{x}.trace()
torch.kron({x}, {y})|torch.cross({x}, {y}, dim=-1)|torch.cdist({x}, {y} + 3)|torch.inner({x}, {y})
{x}[0]|{x}[1:]|{x}[..., 0]|{x}[::2]|{x}[None]|{x}.mT|{x}.reshape(-1)|{x}.expand(2, *{x}.shape)
{x}.diagonal()|torch.tril({x})|torch.nn.functional.pad({x}, (1, 2))|{x}.roll(1, {d})
torch.nn.functional.pad({x}[None], (1, 1), mode="replicate")|{x}.unfold({d}, 2, 1)|{x}.triu(1)
{x}[[0, -1]]|torch.diag_embed({x})|{x}.repeat_interleave(2, 0)|{x}.squeeze()|{x}.unsqueeze({d})
{x}.movedim(0, {d})|{x}.split(1, {d})[0]|{x}.chunk(2, {d})[-1]|{x}.tile(2)|{x}.narrow({d}, 0, 1)
torch.cat([{x}, {y}])|torch.stack([{x}, {y}], -1)|torch.cat([{x}, {y}], {d})|{x}.unbind({d})[-1]
{x}[{i}]|{x}.gather({d}, {i})|torch.zeros_like({x}).scatter_add({d}, {i}, {x})|{x} * {i}|{i} // 2
torch.zeros_like({x}).index_add(0, {i}, {x})|torch.nn.functional.cross_entropy({x}, {i})
{i} / 2|{x}.index_select(0, {i})|{i}.sum()|{x} > {y}|torch.where({b}, {x}, {x} * 2)|{b}.sum()
{x}.masked_fill({b}, 0.5)|{x} * {b}|~{b}|{x} == {y}|{b} & ({i} > 0)|{i}.cumsum(0)|{i} % 3 + 1
{x}.scatter({d}, {i}, 0.25)|torch.nn.functional.one_hot({i}.long(), 2)|{x}[{i}, {i}]|{i} * {i} - 1
{x}.index_fill({d}, {i}, 0.5)|{x}.index_copy(0, {i}.reshape(-1)[:1], {y}[:1])|torch.take({x}, {i})
torch.take_along_dim({x}, {i}, {d})|{x}.scatter_reduce({d}, {i}, {x}, "amax")
{x}.double() * 1.5|{x}.float()|{x} + {i}.double().mean()|{b}.to({x}.dtype)|{x}.to(torch.int64)
{x}.clone(); {t}[0] = {y}|{x}.clone(); {t}[1:] *= 2|{x}.clone(); {t} += {y}; {t}.mul_(2)
torch.zeros_like({x}); {t}[0] = {x}[0]|{x}.clone(); u = {t}.view(-1); u[0] = 1.5
{x}.clone(); u = {t}[1:]; {t}.mul_(2); {t} = u + 1|{x}.clone(); {t}[{x} > 0] = 0.0
torch.zeros(2, dtype={x}.dtype); {t}[1] = {x}.sum(); {t}[0] = {t}[1] * 2
{x}.clone(); {t}.mT.mul_(0.5)|{x}.clone(); {t}.diagonal().fill_(1.0)
{x}.clone(); {t}[..., 0].zero_()
{x}.clone(); {t}[{i}] = 0.5|{x}.clone(); {t}.index_put_(({i},), {y}, accumulate=True)
{x}.clone(); {t}.masked_fill_({b}, 0.0)|{x}.clone(); {t}[..., 1:] = {t}[..., :-1] * 2
{x}.clone(); u = {t}.unsqueeze(0); u.add_({y}); {t} = {t} * u.sum()|{x}.clone().clamp_(max=0.5)
{x}.exp().relu_()|torch.empty_like({x}).copy_({y})|{x}.new_zeros({x}.shape).add_({x}, alpha=2)
{x} * 1; v = {t}.detach(); {t} = {t} * v|torch.where({x} > 0, {x}.sqrt(), {x} * 0.5)
{x}.clone(); {t}.select({d}, 0).copy_({x}.sum({d}))|sum({x}.unbind({d}), start={x}.sum() * 0)
api.cond({x}.sum() > 0, lambda u: u * 2, lambda u: u.sin(), {x})
api.cond(({x} > 0).any(), lambda: {x} + {y}, lambda: {x} * {y})
api.cond({x}.mean() > 0.1, lambda u, v: (u, v), lambda u, v: (v * u, u), {x}, {x} * 0.5)[1]
api.scan(lambda c, u: (c * 0.5 + u, c + u), {x}.sum(0) * 0, {x})[0]
api.scan(lambda c, u: (torch.tanh(c + u), c * u), {x}[0], {x})[1]
api.scan(lambda c, u: (c * u.cos() + {y}.sum(), c), {x}[0] * 1, {x}, reverse={k})[1]
api.scan(lambda c, _: (c * 0.5 + {x}, c.sum()), {x}, length=3)[1]
api.fori_loop(0, 3, lambda i, c: torch.sin(c) + i * {x}, {x})
api.fori_loop(1, 4, lambda i, c: c * 0.5 + {x}[..., i - 1], {x}[..., 0])
api.while_loop(lambda c: c.sum() < 2, lambda c: c * c + 0.5, {x}, max_steps=6)
api.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * {y}, c[1] + 1), ({x}, {x}.sum() * 0), 4)[0]
api.fori_loop(0, 2, lambda i, c: api.cond(c.sum() > i, lambda u: u * 0.5, lambda u: u + 1, c), {x})
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
