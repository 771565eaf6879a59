// RUN: pullback-opt --split-input-file --verify-diagnostics --pb-transpose %s

func.func private @square(%v: tensor<f64>) -> tensor<f64> {
  // expected-error@+1 {{pb.exp has no transpose rule}}
  %0 = pb.exp %v : tensor<f64>
  return %0 : tensor<f64>
}
func.func @main(%ct: tensor<f64>) -> tensor<f64> {
  %0 = pb.linear_transpose @square() cotangents(%ct) : () (tensor<f64>) -> (tensor<f64>)
  return %0 : tensor<f64>
}
