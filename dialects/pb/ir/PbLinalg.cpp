// Result types of factorisations; see PbInfer.cpp.
#include "Pb.h"

using namespace mlir;
using Shape = SmallVector<int64_t>;
using Loc = std::optional<Location>;
using Types = SmallVectorImpl<Type>;

static RankedTensorType tensor(Value value) { return cast<RankedTensorType>(value.getType()); }

static LogicalResult checkMatrix(Loc loc, RankedTensorType x, bool square) {
  if (x.getRank() < 2)
    return emitOptionalError(loc, "expected a matrix or a batch of them, not ", x);
  auto sizes = x.getShape().take_back(2);
  if (square && sizes[0] != sizes[1])
    return emitOptionalError(loc, "expected square matrices, not ", x);
  return success();
}

/// a y = b makes sense.
static LogicalResult checkSystem(Loc loc, RankedTensorType a, RankedTensorType b) {
  if (failed(checkMatrix(loc, a, true)) || failed(checkMatrix(loc, b, false)))
    return failure();
  if (a.getElementType() != b.getElementType() ||
      a.getShape().drop_back(1) != b.getShape().drop_back(1))
    return emitOptionalError(loc, "matrices ", a, " and right-hand sides ", b, " do not fit");
  return success();
}

namespace pb {

LogicalResult CholeskyOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  types.push_back(op.getX().getType());
  return checkMatrix(loc, tensor(op.getX()), true);
}

LogicalResult TriangularSolveOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op,
                                                  Types &types) {
  types.push_back(op.getB().getType());
  return checkSystem(loc, tensor(op.getA()), tensor(op.getB()));
}

LogicalResult LuOp::inferReturnTypes(MLIRContext *context, Loc loc, Adaptor op, Types &types) {
  auto x = tensor(op.getX());
  if (failed(checkMatrix(loc, x, false)))
    return failure();
  Shape shape(x.getShape().drop_back(2));
  auto [pivots, permutation] = std::pair(shape, shape);
  pivots.push_back(std::min(x.getDimSize(x.getRank() - 2), x.getDimSize(x.getRank() - 1)));
  permutation.push_back(x.getDimSize(x.getRank() - 2));
  types.push_back(x);
  types.push_back(RankedTensorType::get(pivots, IntegerType::get(context, 32)));
  types.push_back(RankedTensorType::get(permutation, IntegerType::get(context, 64)));
  return success();
}

/// `lu` and `rows` (pivots or permutation) may come from pb.lu of a.
static LogicalResult checkFactors(Loc loc, RankedTensorType a, Value lu, ValueRange rows) {
  if (failed(checkMatrix(loc, a, true)))
    return failure();
  if (lu.getType() != a)
    return emitOptionalError(loc, "factors ", lu.getType(), " of ", a);
  for (Value value : rows)
    if (tensor(value).getShape() != a.getShape().drop_back(1))
      return emitOptionalError(loc, "row numbers ", value.getType(), " of ", a);
  return success();
}

LogicalResult LuSolveOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  types.push_back(op.getB().getType());
  if (failed(checkFactors(loc, tensor(op.getA()), op.getLu(), op.getPermutation())))
    return failure();
  return checkSystem(loc, tensor(op.getA()), tensor(op.getB()));
}

LogicalResult DeterminantOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto a = tensor(op.getA());
  if (failed(checkFactors(loc, a, op.getLu(), {op.getPivots(), op.getPermutation()})))
    return failure();
  types.push_back(a.clone(a.getShape().drop_back(2)));
  return success();
}

LogicalResult QrOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto x = tensor(op.getX());
  if (failed(checkMatrix(loc, x, false)))
    return failure();
  Shape q(x.getShape()), r(x.getShape());
  int64_t rows = q[q.size() - 2], columns = q.back();
  q.back() = r[r.size() - 2] = op.getComplete() ? rows : std::min(rows, columns);
  types.push_back(x.clone(q));
  types.push_back(x.clone(r));
  return success();
}

LogicalResult EighOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto x = tensor(op.getX());
  if (failed(checkMatrix(loc, x, true)))
    return failure();
  types.push_back(x.clone(x.getShape().drop_back(1)));
  types.push_back(x);
  return success();
}

LogicalResult SvdOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto x = tensor(op.getX());
  if (failed(checkMatrix(loc, x, false)))
    return failure();
  Shape u(x.getShape()), s(x.getShape().drop_back(1)), vh(x.getShape());
  u.back() = s.back() = vh[vh.size() - 2] = std::min(vh[vh.size() - 2], u.back());
  types.push_back(x.clone(u));
  types.push_back(x.clone(s));
  types.push_back(x.clone(vh));
  return success();
}

LogicalResult PinvOp::inferReturnTypes(MLIRContext *, Loc loc, Adaptor op, Types &types) {
  auto a = tensor(op.getA()), p = tensor(op.getP());
  if (failed(checkMatrix(loc, a, false)))
    return failure();
  Shape flipped(a.getShape());
  std::swap(flipped[flipped.size() - 2], flipped.back());
  if (p != a.clone(flipped))
    return emitOptionalError(loc, p, " cannot be the pseudoinverse of ", a);
  types.push_back(p);
  return success();
}

} // namespace pb
