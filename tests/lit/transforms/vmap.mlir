// RUN: pullback-opt --split-input-file --pb-vmap %s | FileCheck %s
// RUN: pullback-opt --split-input-file --pb-vmap --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC
// LOC-NOT: unknown

// A matrix-vector product over examples is one matrix product; the shared operand stays as it is.
// CHECK-LABEL: func private @layer.vmap(
// CHECK-SAME: %[[W:.*]]: tensor<4x3xf64>, %[[XS:.*]]: tensor<8x3xf64>) -> tensor<8x4xf64>
// CHECK: %[[Y:.*]] = pb.dot_general %[[W]], %[[XS]] batch = [] x [] contract = [1] x [1]
// CHECK: pb.tanh
// CHECK: return
func.func private @layer(%w: tensor<4x3xf64>, %x: tensor<3xf64>) -> tensor<4xf64> {
  %0 = pb.dot_general %w, %x batch = [] x [] contract = [1] x [0] : tensor<4x3xf64>, tensor<3xf64>
  %1 = pb.tanh %0 : tensor<4xf64>
  return %1 : tensor<4xf64>
}
func.func @main(%w: tensor<4x3xf64>, %xs: tensor<8x3xf64>) -> tensor<8x4xf64> {
  %0 = pb.vmap @layer(%w, %xs) in_dims = [-1, 0] out_dims = [0] size = 8 : (tensor<4x3xf64>, tensor<8x3xf64>) -> tensor<8x4xf64>
  return %0 : tensor<8x4xf64>
}

// -----

// What no example changes is computed once, and repeated where it is returned.
// CHECK-LABEL: func private @shared.vmap(
// CHECK-SAME: tensor<8xf64>, %[[S:.*]]: tensor<f64>
// CHECK: %[[EXP:.*]] = pb.exp %[[S]] : tensor<f64>
// CHECK: pb.broadcast %[[EXP]] dims = [] : tensor<f64> -> tensor<8xf64>
func.func private @shared(%x: tensor<f64>, %s: tensor<f64>) -> tensor<f64> {
  %0 = pb.exp %s : tensor<f64>
  return %0 : tensor<f64>
}
func.func @main(%xs: tensor<8xf64>, %s: tensor<f64>) -> tensor<8xf64> {
  %0 = pb.vmap @shared(%xs, %s) in_dims = [0, -1] out_dims = [0] size = 8 : (tensor<8xf64>, tensor<f64>) -> tensor<8xf64>
  return %0 : tensor<8xf64>
}

// -----

// Indices of each example: the batch becomes a batch dimension of gather, no loop.
// CHECK-LABEL: func private @pick.vmap(
// CHECK: pb.gather %{{.*}} at(%{{.*}}) axes = [1] batch_dims = 1 {in_bounds} : tensor<8x5xf64>, tensor<8xi64>
func.func private @pick(%x: tensor<5xf64>, %i: tensor<i64>) -> tensor<f64> {
  %0 = pb.gather %x at(%i) axes = [0] batch_dims = 0 {in_bounds} : tensor<5xf64>, tensor<i64>
  return %0 : tensor<f64>
}
func.func @main(%xs: tensor<8x5xf64>, %is: tensor<8xi64>) -> tensor<8xf64> {
  %0 = pb.vmap @pick(%xs, %is) in_dims = [0, 0] out_dims = [0] size = 8 : (tensor<8x5xf64>, tensor<8xi64>) -> tensor<8xf64>
  return %0 : tensor<8xf64>
}

// -----

// A check stays a check, for every example.
// CHECK-LABEL: func private @checked.vmap(
// CHECK: pb.check_index %{{.*}} size = 5 message = "IndexError: no" : tensor<8xi64>
func.func private @checked(%i: tensor<i64>) -> tensor<i64> {
  %0 = pb.check_index %i size = 5 message = "IndexError: no" : tensor<i64>
  return %0 : tensor<i64>
}
func.func @main(%is: tensor<8xi64>) -> tensor<8xi64> {
  %0 = pb.vmap @checked(%is) in_dims = [0] out_dims = [0] size = 8 : (tensor<8xi64>) -> tensor<8xi64>
  return %0 : tensor<8xi64>
}
