"""What random programs are made of, one statement for each ``|``.

``{x}`` and ``{y}`` are floats, ``{i}`` integers, ``{b}`` booleans, ``{t}`` the name of the result,
``{d}`` a dimension of ``{x}``, ``{k}`` a bool; ``F.`` and ``L.`` are functions of nn and linalg.
"""

from __future__ import annotations

TEXT = """
torch.sin({x})|torch.tanh({x})|torch.exp(-{x} * {x})|torch.log({x} * {x} + 0.5)|{x} ** 3
torch.sqrt({x} * {x} + 1)|torch.sigmoid({x})|{x}.abs()|torch.relu({x})|{x}.clamp(-0.5, 0.5)
torch.floor({x})|torch.round({x})|{x} % 0.3|2 - {x}|{x} / 2|{x}.detach()|torch.expm1({x})|F.elu({x})
F.softplus({x})|torch.reciprocal({x} * {x} + 1)|torch.cos({x}) * 0.5|torch.log1p({x}.abs())
torch.sign({x})|F.silu({x})|F.leaky_relu({x}, 0.1)|F.gelu({x})|torch.erf({x})|torch.atan({x})
F.logsigmoid({x})|torch.square({x})|torch.trunc({x} * 3)|torch.nan_to_num({x})|torch.frac({x} * 1.5)
{x}.clamp(min=0.1)|F.hardtanh({x})|{x} + {y}|{x} * {y}|{x} - {y}|{x} / ({y} * {y} + 1)
torch.maximum({x}, {y})|torch.minimum({x}, {y})|torch.where({x} > {y}, {x}, {y} * 2)
({x} * {x} + 1) ** {y}|torch.lerp({x}, {y}, 0.3)|F.mse_loss({x}, {y})|torch.clamp({x}, max={y})
F.smooth_l1_loss({x}, {y})|torch.addcmul({x}, {y}, {y})|torch.hypot({x}, {y} + 2)
torch.atan2({x}, {y} * {y} + 1)|torch.addcdiv({x}, {y}, {y} * {y} + 1)|torch.logaddexp({x}, {y})
torch.copysign({x}, {y})|torch.xlogy({x}, {y} * {y} + 1)|torch.fmod({x}, 0.7)|F.huber_loss({x}, {y})
F.l1_loss({x}, {y})|{x}.sum({d}, keepdim={k})|{x}.mean({d}, keepdim={k})|{x}.amax({d}, keepdim={k})
{x}.var({d})|torch.logsumexp({x}, {d})|{x}.norm(dim={d})|{x}.prod({d})|{x}.max({d}).values
{x}.std({d}, correction=0, keepdim={k})|{x}.amin({d})|{x}.min({d}).values|{x}.mean()|{x}.argmax({d})
torch.softmax({x}, {d})|torch.log_softmax({x}, {d})|{x}.cumsum({d})|{x}.flip({d})
L.vector_norm({x}, 3, {d})|{x}.cumprod({d})|torch.logcumsumexp({x}, {d})
torch.cummax({x}, {d}).values|{x}.sort({d}).values|{x}.sort({d}, descending={k}).indices
({x} + torch.arange({x}.numel()).reshape({x}.shape) / 256).topk(1, {d}).values
{x}.median({d}).values|{x}.argmin({d})|({x} > 0).any({d})|{x}.diff(dim={d})
F.normalize({x}, dim={d})|F.layer_norm({x}, {x}.shape[-1:])|{x} @ {y}|{x} @ {y}.mT
torch.einsum("...i,...i->...", {x}, {y})|torch.outer({x}, {y})|torch.einsum("ij,ik->jk", {x}, {y})
torch.tensordot({x}, {y}, 1)|torch.einsum("ii->i", {x})|torch.addmm({x}, {x}, {y}, beta=0.5)
L.multi_dot([{x}, {y}, {x}])|{x}.trace()|torch.kron({x}, {y})|torch.cross({x}, {y}, dim=-1)
torch.cdist({x}, {y} + 3)|torch.inner({x}, {y})|{x}[0]|{x}[1:]|{x}[..., 0]|{x}[::2]|{x}[None]|{x}.mT
{x}.reshape(-1)|{x}.expand(2, *{x}.shape)|{x}.diagonal()|torch.tril({x})|F.pad({x}, (1, 2))
{x}.roll(1, {d})|F.pad({x}[None], (1, 1), mode="replicate")|{x}.unfold({d}, 2, 1)|{x}.triu(1)
{x}[[0, -1]]|torch.diag_embed({x})|{x}.repeat_interleave(2, 0)|{x}.squeeze()|{x}.unsqueeze({d})
{x}.movedim(0, {d})|{x}.split(1, {d})[0]|{x}.chunk(2, {d})[-1]|{x}.tile(2)|{x}.narrow({d}, 0, 1)
torch.cat([{x}, {y}])|torch.stack([{x}, {y}], -1)|torch.cat([{x}, {y}], {d})|{x}.unbind({d})[-1]
{x}[{i}]|{x}.gather({d}, {i})|torch.zeros_like({x}).scatter_add({d}, {i}, {x})|{x} * {i}|{i} // 2
torch.zeros_like({x}).index_add(0, {i}, {x})|F.cross_entropy({x}, {i})|{i} / 2
{x}.index_select(0, {i})|{i}.sum()|{x} > {y}|torch.where({b}, {x}, {x} * 2)|{b}.sum()
{x}.masked_fill({b}, 0.5)|{x} * {b}|~{b}|{x} == {y}|{b} & ({i} > 0)|{i}.cumsum(0)|{i} % 3 + 1
{x}.scatter({d}, {i}, 0.25)|F.one_hot({i}.long(), 2)|{x}[{i}, {i}]|{i} * {i} - 1
{x}.index_fill({d}, {i}, 0.5)|{x}.index_copy(0, {i}.reshape(-1)[:1], {y}[:1])|torch.take({x}, {i})
torch.take_along_dim({x}, {i}, {d})|{x}.scatter_reduce({d}, {i}, {x}, "amax")|{x}.double() * 1.5
{x}.float()|{x} + {i}.double().mean()|{b}.to({x}.dtype)|{x}.to(torch.int64)
{x}.clone(); {t}[0] = {y}|{x}.clone(); {t}[1:] *= 2|{x}.clone(); {t} += {y}; {t}.mul_(2)
torch.zeros_like({x}); {t}[0] = {x}[0]|{x}.clone(); u = {t}.view(-1); u[0] = 1.5
{x}.clone(); u = {t}[1:]; {t}.mul_(2); {t} = u + 1|{x}.clone(); {t}[{x} > 0] = 0.0
torch.zeros(2, dtype={x}.dtype); {t}[1] = {x}.sum(); {t}[0] = {t}[1] * 2
{x}.clone(); {t}.mT.mul_(0.5)|{x}.clone(); {t}.diagonal().fill_(1.0)
{x}.clone(); {t}[..., 0].zero_()|{x}.clone(); {t}[{i}] = 0.5
{x}.clone(); {t}.index_put_(({i},), {y}, accumulate=True)|{x}.clone(); {t}.masked_fill_({b}, 0.0)
{x}.clone(); {t}[..., 1:] = {t}[..., :-1] * 2
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
api.grad(lambda u: (u * u.sin()).sum())({x})|api.grad(lambda u: (u * {y}).cos().sum())({x})
api.vmap(lambda u: torch.softmax(u, -1) * 2, in_dims={d}, out_dims=-1)({x})
api.vmap(lambda u, v: u * v.sum(), in_dims=({d}, None))({x}, {y})
api.vmap(lambda u: u.cumsum(0) + {y}.sum())({x})|api.vmap(lambda u: u[{i}])({x})
api.jvp(lambda u: u * torch.tanh(u) + {y}, ({x},), ({x} * 0.5,))[1]
api.vjp(lambda u: u.cumsum({d}) * u, {x})[1]({x})[0]
api.jacfwd(lambda u: torch.sin(u) * u.sum())({x})|api.jacrev(lambda u: u.softmax({d}))({x})
api.hessian(lambda u: (u ** 3).sum())({x})
api.grad(lambda u: api.vmap(lambda w: (w * w).sum().tanh())(u).sum())({x})
api.vmap(api.grad(lambda u: torch.logsumexp(u.reshape(-1), 0)))({x})
api.scan(lambda c, u: (api.grad(lambda w: (w * w * u).sum())(c), c.sum()), {x}[0] * 1, {x})[1]
api.vmap(lambda u: api.scan(lambda c, w: (c * 0.5 + w, c * w), u[0] * 0, u)[1])({x})
api.vmap(lambda u: api.cond(u.sum() > 0, lambda w: w * 2, lambda w: w.sin(), u))({x})
api.vmap(lambda u: api.while_loop(lambda c: c.sum() < 1, lambda c: c * c + 0.4, u, 5))({x})
api.cond({b}.any(), lambda u: api.scan(lambda c, w: (c + w, c), u[0] * 0, u)[1], torch.cos, {x})
api.scan(lambda c, u: (c, api.cond(u.sum() > 0, lambda w: w * c, torch.sin, u)), {x}[0] * 1, {x})[1]
api.checkpoint(lambda u: torch.tanh(u) * u + {y})({x})|api.checkpoint(torch.sin)({x})
api.scan(api.checkpoint(lambda c, u: (c * u.cos(), c)), {x}[0] * 1, {x})[1]
F.conv1d({x}[None], {y}[None])|F.avg_pool1d({x}[None], 2)
F.conv1d({x}.reshape(1, 1, -1), {y}.reshape(1, 1, -1)[..., :2], padding=1)
F.conv2d({x}.expand(1, 1, *{x}.shape[-2:]), {y}.reshape(-1)[:1].expand(1, 1, 2, 2))
F.max_pool1d({x}[None], 2, stride=1)|F.adaptive_avg_pool1d({x}, 2)|F.group_norm({x}[None], 1)
F.linear({x}, {y})|F.interpolate({x}[None], scale_factor=2)|F.glu({x}.tile(2), -1)
F.scaled_dot_product_attention({x}[None], {x}[None], {x}[None])|F.embedding({i}.long(), {x})
F.cosine_similarity({x}, {y}, dim={d})|F.instance_norm({x}[None, None])
F.rms_norm({x}, {x}.shape[-1:])|F.nll_loss({x}.log_softmax(-1), {i}.long())|F.kl_div({x}, {y})
F.binary_cross_entropy_with_logits({x}, {y}.sigmoid())|F.pad({x}[None], (1, 1), mode="reflect")
F.mish({x})|L.det({x} + 2 * torch.eye(3, dtype={x}.dtype))|L.inv({x} @ {x}.mT + EYE)
L.cholesky({x} @ {x}.mT + EYE)|L.svdvals({x})|L.solve({x} @ {x}.mT + EYE, {x})|L.matrix_norm({x})
L.eigvalsh({x} @ {x}.mT + EYE)|L.matrix_power({x}, 2)
L.solve_triangular({x}.tril() + 2 * EYE, {x}, upper=False)
torch.baddbmm({x}[None], {x}[None], {y}[None])|torch.bmm({x}[None], {y}[None])|torch.mv({x}, {y})
torch.einsum("ij,kj->ki", {x}, {y})|torch.einsum("i,j,k->kij", {x}, {x}, {y})
torch.chain_matmul({x}, {y})|torch.lgamma({x} * {x} + 1)|torch.digamma({x} * {x} + 1)
torch.erfinv({x}.clamp(-0.9, 0.9))|torch.sinc({x})|torch.special.i0({x})
torch.special.entr({x} * {x})|torch.special.xlog1py({x}, {y} * {y})|torch.exp2({x})|torch.asinh({x})
torch.acos({x}.clamp(-0.9, 0.9))|torch.rsqrt({x} * {x} + 1)|torch.logit({x}.sigmoid())
torch.remainder({x}, {y} * {y} + 1)|torch.fmod({x}, {y} * {y} + 1)
torch.floor_divide({x}, {y} * {y} + 1)|torch.heaviside({x}, {y})|torch.fmax({x}, {y})
torch.fmin({x}, {y})|torch.hypot({x}, {y})|torch.ldexp({x}, {i})|{x} ** {i}|2.0 ** {x}|{x} + {b}
{i} + 0.5|{i} * {b}|{x} * 2 ** 0.5|{i} / ({i} + 1)|-{i}|{i} ** 2|{b} + {i}|{x} @ {i}.to({x}.dtype)
torch.where({b}, {x}, 0.0)|torch.where({b}, {x}, {i})|{x}.masked_select({b}).sum()
{x}.aminmax(dim={d}).max|{x}.nansum({d})|{x}.nanmean({d})|{x}.logcumsumexp({d})
{x}.cummin({d}).values|{x}.var_mean({d})[0]|torch.quantile({x}, 0.3, {d})
{x}.kthvalue(1, {d}).values|{x}.mode({d}).values * 0 + 1|{x}.count_nonzero({d})|{x}.all({d})
{x}.isnan()|{x}.renorm(2, 0, 1.0)|{x}.dist({y})|torch.dot({x}, {y})
torch.searchsorted({x}.sort().values, {y})
torch.bucketize({x}, torch.tensor([0.0, 0.5], dtype={x}.dtype))|torch.trapezoid({x}, dim={d})
torch.cov({x})|torch.corrcoef({x})|torch.cartesian_prod({x}, {y})|torch.vander({x})
torch.combinations({x})|torch.block_diag({x}, {y})|torch.tensordot({x}, {y}, 0)|{x}.rot90()
{x}.swapaxes(0, {d})|{x}.flatten()|{x}.unflatten({d}, (1, -1))|{x}.as_strided((2,), (1,))
torch.hstack([{x}, {y}])|torch.dstack([{x}, {y}])|torch.column_stack([{x}, {y}])|{x}.select({d}, -1)
{x}[..., None, :]|{x}[:, [1, 0]]|{x}[[0, -1], ..., 0]|{x}[{x} > 0].sum()|{x}[{b}].sum()
{x}[:, None] * {y}|{x}.gather({d}, {x}.argsort({d}))|{x}.index_add(0, {i}, {y}, alpha=2)
{x}.scatter_add({d}, {i}, {y})|{x}.scatter_reduce({d}, {i}, {y}, "sum")
{x}.scatter_reduce({d}, {i}, {y}, "mean", include_self=False)
{x}.scatter_reduce({d}, {i}, {y} + 3, "prod")|{x}.index_reduce(0, {i}, {y} + 3, "amin")
{x}.put({i}, {y})|{x}.masked_scatter({b}, {y})|{x}.select_scatter({y}, {d}, 0)
{x}.slice_scatter({y}, 0, 0, 1)|{x}.diagonal_scatter({y})|{x}.fill_diagonal_(0.5) * 1
{x}.clone().t_()|{x}.clone().squeeze_()|{x}.clone(); {t}[[0, -1]] = {t}[[-1, 0]]
{x}.clone(); {t}[..., ::2] += 1; {t}[..., 0] = {t}[..., -1]
{x}.clone(); u = {t}.mT[0]; u.mul_(2); {t} = {t} + u.sum()
{x}.clone(); {t}.transpose_(0, -1).add_(1)
{x}.clone(); u = {t}.view(-1)[1:]; w = u[1:]; u.mul_(3); w.add_(1)|{x}.clone(); {t}[{i}] += {y}
{x}.clone(); {t}.scatter_({d}, {i}, {y})|{x}.clone(); {t}.index_add_(0, {i}, {y})
{x}.clone(); {t}[{b}] = {y}.sum()
{x}.clone(); u = {t}.expand(2, *{t}.shape); {t}.mul_(2); {t} = u.sum(0)|{x}.clone(); {t}.copy_({y})
{x}.clone(); {t}.clamp_(min={y}.mean())
{x}.clone(); {t}.addcmul_({y}, {y})|torch.add({x}, {y}, out=torch.empty_like({x}))
torch.ones_like({x}).cumsum_({d}) * {x}|{x}.mul_(2)|{x}.add_({y})|{x}.zero_() + {y}|{x}[0].mul_(3)
{x}.mT.add_(1)|{x}.view(-1)[:1].fill_(0.5)|{x}.sin_()|{x}.clamp_(-1, 1)
{x}.select({d}, 0).add_({y}.sum())|{x}.unsqueeze(0).mul_({y})|{x}.copy_({y} * 1)|{x}.view({x}.shape)
{x}[:]|{x}.view_as({x})|{x}.expand({x}.shape)
"""
LONG = {
    "F.": "torch.nn.functional.",
    "L.": "torch.linalg.",
    "EYE": "torch.eye({x}.shape[0], dtype={x}.dtype)",
}
for short, long in LONG.items():
    TEXT = TEXT.replace(short, long)
STATEMENTS = TEXT.strip().replace("\n", "|").split("|")
