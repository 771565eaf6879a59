// RUN: pullback-opt --pb-simplify %s | FileCheck %s
// RUN: pullback-opt --pb-simplify --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC
// LOC-NOT: unknown

// Exact algebra only: x - 0, x * 1, x * -1, x / 1.
// CHECK-LABEL: func @exact(
// CHECK-SAME: %[[X:.*]]: tensor<3xf32>
// CHECK-NEXT: %[[NEG:.*]] = pb.neg %[[X]]
// CHECK-NEXT: return %[[X]], %[[X]], %[[NEG]], %[[X]]
func.func @exact(%x: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) {
  %zero = pb.constant dense<0.0> : tensor<3xf32>
  %one = pb.constant dense<1.0> : tensor<3xf32>
  %minus = pb.constant dense<-1.0> : tensor<3xf32>
  %0 = pb.sub %x, %zero : tensor<3xf32>
  %1 = pb.mul %x, %one : tensor<3xf32>
  %2 = pb.mul %minus, %x : tensor<3xf32>
  %3 = pb.div %x, %one : tensor<3xf32>
  return %0, %1, %2, %3 : tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>
}

// What NaN, infinity or -0.0 would change stays: x * 0, x - x, x + 0, x - -0, x / x.
// CHECK-LABEL: func @inexact(
// CHECK-DAG: pb.mul
// CHECK-DAG: pb.sub
// CHECK-DAG: pb.add
// CHECK-DAG: pb.sub
// CHECK-DAG: pb.div
// CHECK: return
func.func @inexact(%x: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) {
  %zero = pb.constant dense<0.0> : tensor<3xf32>
  %minus_zero = pb.constant dense<-0.0> : tensor<3xf32>
  %0 = pb.mul %x, %zero : tensor<3xf32>
  %1 = pb.sub %x, %x : tensor<3xf32>
  %2 = pb.add %x, %zero : tensor<3xf32>
  %3 = pb.sub %x, %minus_zero : tensor<3xf32>
  %4 = pb.div %x, %x : tensor<3xf32>
  return %0, %1, %2, %3, %4 : tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>
}

// On integers zero is neutral.
// CHECK-LABEL: func @integers(
// CHECK-SAME: %[[X:.*]]: tensor<3xi64>
// CHECK-NEXT: return %[[X]]
func.func @integers(%x: tensor<3xi64>) -> tensor<3xi64> {
  %zero = pb.constant dense<0> : tensor<3xi64>
  %0 = pb.add %x, %zero : tensor<3xi64>
  return %0 : tensor<3xi64>
}

// Signs move into sums and differences.
// CHECK-LABEL: func @signs(
// CHECK-SAME: %[[X:.*]]: tensor<3xf32>, %[[Y:.*]]: tensor<3xf32>
// CHECK-DAG: %[[A:.*]] = pb.sub %[[X]], %[[Y]]
// CHECK-DAG: %[[B:.*]] = pb.add %[[X]], %[[Y]]
// CHECK-NOT: pb.neg
// CHECK: return %[[A]], %[[B]], %[[X]]
func.func @signs(%x: tensor<3xf32>, %y: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) {
  %minus = pb.neg %y : tensor<3xf32>
  %0 = pb.add %minus, %x : tensor<3xf32>
  %1 = pb.sub %x, %minus : tensor<3xf32>
  %2 = pb.neg %x : tensor<3xf32>
  %3 = pb.neg %2 : tensor<3xf32>
  return %0, %1, %3 : tensor<3xf32>, tensor<3xf32>, tensor<3xf32>
}

// Arithmetic on repeated values is done before they are repeated.
// CHECK-LABEL: func @hoisted(
// CHECK-SAME: %[[X:.*]]: tensor<3xf32>, %[[Y:.*]]: tensor<3xf32>
// CHECK: %[[SUM:.*]] = pb.add %[[X]], %[[Y]] : tensor<3xf32>
// CHECK: %[[EXP:.*]] = pb.exp %[[SUM]] : tensor<3xf32>
// CHECK: pb.broadcast %[[EXP]] dims = [1] : tensor<3xf32> -> tensor<9x3xf32>
// CHECK-NEXT: return
func.func @hoisted(%x: tensor<3xf32>, %y: tensor<3xf32>) -> tensor<9x3xf32> {
  %0 = pb.broadcast %x dims = [1] : tensor<3xf32> -> tensor<9x3xf32>
  %1 = pb.broadcast %y dims = [1] : tensor<3xf32> -> tensor<9x3xf32>
  %2 = pb.add %0, %1 : tensor<9x3xf32>
  %3 = pb.exp %2 : tensor<9x3xf32>
  return %3 : tensor<9x3xf32>
}

// Rearrangements compose; a contraction reads transposed operands in place.
// CHECK-LABEL: func @structure(
// CHECK-SAME: %[[X:.*]]: tensor<2x3x4xf32>, %[[Y:.*]]: tensor<4x5xf32>
// CHECK-DAG: %[[A:.*]] = pb.transpose %[[X]] permutation = [2, 1, 0]
// CHECK-DAG: %[[B:.*]] = pb.reshape %[[X]] : tensor<2x3x4xf32> -> tensor<24xf32>
// CHECK-DAG: %[[C:.*]] = pb.dot_general %[[X]], %[[Y]] batch = [] x [] contract = [2] x [0]
// CHECK: return %[[A]], %[[B]], %[[C]]
func.func @structure(%x: tensor<2x3x4xf32>, %y: tensor<4x5xf32>) -> (tensor<4x3x2xf32>, tensor<24xf32>, tensor<2x3x5xf32>) {
  %0 = pb.transpose %x permutation = [2, 0, 1] : tensor<2x3x4xf32>
  %1 = pb.transpose %0 permutation = [0, 2, 1] : tensor<4x2x3xf32>
  %2 = pb.reshape %x : tensor<2x3x4xf32> -> tensor<6x4xf32>
  %3 = pb.reshape %2 : tensor<6x4xf32> -> tensor<24xf32>
  %4 = pb.transpose %y permutation = [1, 0] : tensor<4x5xf32>
  %5 = pb.dot_general %0, %4 batch = [] x [] contract = [0] x [1] : tensor<4x2x3xf32>, tensor<5x4xf32>
  return %1, %3, %5 : tensor<4x3x2xf32>, tensor<24xf32>, tensor<2x3x5xf32>
}

// Constants fold, equal ops merge, dead ones go.
// CHECK-LABEL: func @folded(
// CHECK-SAME: %[[X:.*]]: tensor<f64>
// CHECK-DAG: %[[SIX:.*]] = pb.constant dense<6.000000e+00> : tensor<f64>
// CHECK-DAG: %[[SIN:.*]] = pb.sin %[[X]]
// CHECK-NOT: pb.sin
// CHECK-NOT: pb.cos
// CHECK: %[[PRODUCT:.*]] = pb.mul %[[SIN]], %[[SIN]]
// CHECK: return %[[SIX]], %[[PRODUCT]]
func.func @folded(%x: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %two = pb.constant dense<2.0> : tensor<f64>
  %three = pb.constant dense<3.0> : tensor<f64>
  %0 = pb.mul %two, %three : tensor<f64>
  %1 = pb.sin %x : tensor<f64>
  %2 = pb.sin %x : tensor<f64>
  %3 = pb.mul %1, %2 : tensor<f64>
  %dead = pb.cos %x : tensor<f64>
  return %0, %3 : tensor<f64>, tensor<f64>
}

// A check is kept though its result is not used, and done once.
// CHECK-LABEL: func @checked(
// CHECK: pb.check_index
// CHECK-NOT: pb.check_index
// CHECK: return
func.func @checked(%i: tensor<i64>) {
  %0 = pb.check_index %i size = 5 message = "IndexError: no" : tensor<i64>
  %1 = pb.check_index %i size = 5 message = "IndexError: no" : tensor<i64>
  return
}

// The sum over a one-hot row is its value, if the index is known to be good.
// CHECK-LABEL: func @one_hot(
// CHECK-SAME: %[[I:.*]]: tensor<i64>, %[[V:.*]]: tensor<f64>
// CHECK: pb.reduce_sum
// CHECK: return %[[V]]
func.func @one_hot(%i: tensor<i64>, %v: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %zeros = pb.constant dense<0.0> : tensor<5xf64>
  %iota = pb.iota dim = 0 : tensor<5xi64>
  %vs = pb.broadcast %v dims = [] : tensor<f64> -> tensor<5xf64>
  %safe = pb.check_index %i size = 5 message = "IndexError: no" : tensor<i64>
  %good = pb.broadcast %safe dims = [] : tensor<i64> -> tensor<5xi64>
  %here = pb.compare "eq" %iota, %good : tensor<5xi64>
  %row = pb.select %here, %vs, %zeros : tensor<5xi1>, tensor<5xf64>, tensor<5xf64>
  %0 = pb.reduce_sum %row dims = [0] : tensor<5xf64>
  %bad = pb.broadcast %i dims = [] : tensor<i64> -> tensor<5xi64>
  %there = pb.compare "eq" %iota, %bad : tensor<5xi64>
  %maybe = pb.select %there, %vs, %zeros : tensor<5xi1>, tensor<5xf64>, tensor<5xf64>
  %1 = pb.reduce_sum %maybe dims = [0] : tensor<5xf64>
  return %0, %1 : tensor<f64>, tensor<f64>
}
