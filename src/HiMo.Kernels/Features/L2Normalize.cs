// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// Scales every row to unit length: y[i,:] = x[i,:] / max(‖x[i,:]‖, 1e-12). The length is computed without overflow or underflow,
/// so a row of 1e+30 becomes a unit row. Source: HiMo-CLIP (arXiv:2511.06653), features before HiDe; the floor is torch's, where
/// the authors' code has none.
/// </summary>
/// <example>
/// <code>
/// float[] features = [3f, 4f, 0f, 0f]; // 2 x 2, the second row is zero
/// float[] unit = new float[4];
/// L2Normalize.Forward(new ReadOnlyMatrixView(features, 2, 2), new MatrixView(unit, 2, 2));
/// Console.WriteLine(string.Join(" ", unit)); // 0.6 0.8 0 0
/// </code>
/// </example>
public static partial class L2Normalize
{
    /// <summary>y[i,:] = x[i,:] / max(‖x[i,:]‖, 1e-12).</summary>
    /// <param name="x">N x d rows, finite; N and d may be 0.</param>
    /// <param name="y">Receives the N x d unit rows; must not overlap <paramref name="x"/>.</param>
    /// <exception cref="ArgumentException">The shapes differ, the matrices overlap, or x holds NaN or infinity (the message names row
    /// and column); nothing was written then.</exception>
    public static void Forward(ReadOnlyMatrixView x, MatrixView y)
    {
        Guard.Shape(y.Shape, x.Shape);
        Guard.Apart(y, x);
        Guard.Finite(x);
        L2NormalizeCpu.Forward(x, y);
    }

    /// <summary>
    /// dx[i,:] = (dy[i,:] - (dy[i,:] · y[i,:]) y[i,:]) / ‖x[i,:]‖, with y computed again from x. A row at the floor, a zero row above
    /// all, gets 0; a value beyond float32 becomes its largest.
    /// </summary>
    /// <param name="x">N x d rows that <see cref="Forward(ReadOnlyMatrixView, MatrixView)"/> was given.</param>
    /// <param name="gradY">N x d, dL/dy, finite.</param>
    /// <param name="gradX">Receives dL/dx, N x d; must not overlap <paramref name="x"/> or <paramref name="gradY"/>.</param>
    /// <exception cref="ArgumentException">Shapes differ, matrices overlap, or an input holds NaN or infinity (the message names row and
    /// column); nothing was written then.</exception>
    public static void Backward(ReadOnlyMatrixView x, ReadOnlyMatrixView gradY, MatrixView gradX)
    {
        Guard.Shape(gradY.Shape, x.Shape);
        Guard.Shape(gradX.Shape, x.Shape);
        Guard.Apart(gradX, x);
        Guard.Apart(gradX, gradY);
        Guard.Finite(x);
        Guard.Finite(gradY);
        L2NormalizeCpu.Backward(x, gradY, gradX);
    }
}
