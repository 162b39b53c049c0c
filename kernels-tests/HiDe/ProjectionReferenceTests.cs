// SPDX-License-Identifier: Apache-2.0
using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearAlgebra.Factorization;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The projection against a singular value decomposition of its own, and its gradients by central differences.</summary>
internal sealed class ProjectionReferenceTests
{
    private static readonly (int Rows, int Columns)[] s_shapes = [(6, 5), (5, 6), (5, 5), (4, 9), (9, 4)];

    [Test]
    public void Equals_the_projection_by_singular_vectors(
        [ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape, [Values] GramSide side, [Values(1, 2, 3)] int m)
    {
        ReferenceMatrix centered = Centered(shape);
        (_, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));

        Svd<double> svd = Matrix<double>.Build.DenseOfRowMajor(shape.Rows, shape.Columns, centered.Elements).Svd();
        Matrix<double> kept = svd.VT.SubMatrix(0, m, 0, shape.Columns);
        Matrix<double> expected = Matrix<double>.Build.DenseOfRowMajor(shape.Rows, shape.Columns, centered.Elements) * kept.TransposeThisAndMultiply(kept);
        Expect.Gradient(ProjectionReference.Forward(centered, vectors, side, m).Elements, expected.ToRowMajorArray(), 1e-12, "X P^T P");
    }

    [Test]
    public void Directions_are_orthonormal_and_give_the_projection([ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape, [Values] GramSide side)
    {
        ReferenceMatrix centered = Centered(shape);
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));
        ReferenceMatrix p = ProjectionReference.Directions(centered, vectors, values, side, 2);
        Assert.Multiple(() =>
        {
            Expect.Gradient((p * p.T).Elements, ReferenceMatrix.Identity(2).Elements, 1e-12, "P P^T = 1");
            Expect.Gradient((centered * p.T * p).Elements, ProjectionReference.Forward(centered, vectors, side, 2).Elements, 1e-12, "X P^T P");
        });
    }

    [Test]
    public void Kept_null_directions_are_left_out([Values] GramSide side)
    {
        // Two distinct rows, each three times: rank 1.
        ReferenceMatrix centered = new(6, 4);
        for (int i = 0; i < 6; i++)
        {
            centered[i, 1] = i < 3 ? 1.0 : -1.0;
        }

        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));
        ReferenceMatrix p = ProjectionReference.Directions(centered, vectors, values, side, 3);
        ReferenceMatrix grad = Batch.RandomMatrix(6, 4, 9);
        Assert.Multiple(() =>
        {
            Assert.That(p.Rows, Is.EqualTo(1));
            Assert.That(p.Elements.Select(Math.Abs), Is.EqualTo(new[] { 0.0, 1.0, 0.0, 0.0 }).Within(1e-15));
            foreach (BasisGradient basis in Enum.GetValues<BasisGradient>())
            {
                Assert.That(
                    ProjectionReference.Backward(centered, vectors, values, side, 3, grad, basis).Elements, Is.All.Matches<double>(double.IsFinite));
            }
        });
    }

    [Test]
    public void A_tie_at_the_cut_contributes_nothing([Values] GramSide side)
    {
        // Orthogonal columns of equal length: lambda_1 = lambda_2 exactly, m = 1 cuts between them.
        ReferenceMatrix centered = new([1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0], 4, 2);
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));
        ReferenceMatrix grad = Batch.RandomMatrix(4, 2, 9);
        ReferenceMatrix gradient = ProjectionReference.Backward(centered, vectors, values, side, 1, grad, BasisGradient.Exact);
        Expect.AtMost(Expect.Norm(gradient.Elements), Expect.Norm(grad.Elements), "what is left is a projection of the gradient");
    }

    [Test]
    public void Exact_gradient_by_central_differences(
        [ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape, [Values] GramSide side, [Values(1, 2)] int m)
    {
        ReferenceMatrix centered = Centered(shape);
        ReferenceMatrix weights = Batch.RandomMatrix(shape.Rows, shape.Columns, 12);
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));
        Assert.That((values[m - 1] - values[m]) / values[0], Is.GreaterThan(1e-2), "the case has a clear cut");
        double[] expected = CentralDifference.Of(
            at =>
            {
                ReferenceMatrix moved = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(at, side)).Vectors;
                return CentralDifference.Contract(ProjectionReference.Forward(at, moved, side, m), weights);
            },
            centered);
        Expect.Gradient(
            ProjectionReference.Backward(centered, vectors, values, side, m, weights, BasisGradient.Exact).Elements,
            expected,
            CentralDifference.Tolerance,
            "dX");
    }

    [Test]
    public void Stopped_gradient_holds_the_directions([ValueSource(nameof(s_shapes))] (int Rows, int Columns) shape, [Values] GramSide side)
    {
        ReferenceMatrix centered = Centered(shape);
        ReferenceMatrix weights = Batch.RandomMatrix(shape.Rows, shape.Columns, 12);
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(CenteredGramReference.Forward(centered, side));
        ReferenceMatrix p = ProjectionReference.Directions(centered, vectors, values, side, 2);
        double[] expected = CentralDifference.Of(at => CentralDifference.Contract(at * p.T * p, weights), centered);
        Expect.Gradient(
            ProjectionReference.Backward(centered, vectors, values, side, 2, weights, BasisGradient.Stopped).Elements,
            expected,
            CentralDifference.Tolerance,
            "dX");
    }

    private static ReferenceMatrix Centered((int Rows, int Columns) shape)
    {
        ReferenceMatrix x = L2NormalizeReference.Forward(Batch.Create(shape.Rows, shape.Columns, seed: 3).Texts);
        return BatchMeanReference.Center(x, BatchMeanReference.Mean(x));
    }
}
