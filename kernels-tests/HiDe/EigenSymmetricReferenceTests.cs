// SPDX-License-Identifier: Apache-2.0
using MathNet.Numerics.LinearAlgebra;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>Residual, orthogonality, order, and MathNet as an independent judge of the eigenvalues.</summary>
internal sealed class EigenSymmetricReferenceTests
{
    [Test]
    public void Two_by_two_by_hand()
    {
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(new ReferenceMatrix([2.0, 1.0, 1.0, 2.0], 2, 2));
        Assert.Multiple(() =>
        {
            Assert.That(values, Is.EqualTo(new[] { 3.0, 1.0 }).Within(1e-15));
            Assert.That(Math.Abs(vectors[0, 0] + vectors[0, 1]), Is.EqualTo(Math.Sqrt(2.0)).Within(1e-15));
            Assert.That(vectors[1, 0] + vectors[1, 1], Is.EqualTo(0.0).Within(1e-15));
        });
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    [TestCase(17)]
    [TestCase(64)]
    [TestCase(130)]
    public void Random_matrices(int n)
    {
        ReferenceMatrix a = Batch.RandomMatrix(n, n, n);
        Check(a + a.T);
    }

    [Test]
    public void Special_spectra()
    {
        ReferenceMatrix repeated = ReferenceMatrix.Identity(9);
        repeated[4, 4] = 2.0;
        ReferenceMatrix rankOne = Batch.RandomMatrix(12, 1, 8);
        ReferenceMatrix graded = new(10, 10);
        ReferenceMatrix tridiagonal = new(10, 10);
        ReferenceMatrix zero = new(7, 7);
        for (int i = 0; i < 10; i++)
        {
            graded[i, i] = Math.Pow(10.0, -3.0 * i);
            tridiagonal[i, (i + 1) % 10] = tridiagonal[(i + 1) % 10, i] = i < 9 ? 1.0 : 0.0;
        }

        ReferenceMatrix turn = EigenSymmetricReference.Decompose(Batch.RandomMatrix(10, 10, 2) is ReferenceMatrix r ? r + r.T : zero).Vectors;
        Assert.Multiple(() =>
        {
            Check(repeated);
            Check(rankOne * rankOne.T);
            Check(graded);
            Check(turn.T * graded * turn);
            Check(tridiagonal);
            Check(zero);
            Check(1e200 * (rankOne * rankOne.T));
            Check(1e-200 * (rankOne * rankOne.T));
        });
    }

    private static void Check(ReferenceMatrix a)
    {
        int n = a.Rows;
        (double[] values, ReferenceMatrix vectors) = EigenSymmetricReference.Decompose(a);
        double size = a.Elements.Max(Math.Abs);
        double scale = size == 0.0 ? 1.0 : 1.0 / size;
        double tolerance = 1e-15 * n * 4.0; // backward error of both stages: a small multiple of n times the unit roundoff
        Assert.That(values, Is.Ordered.Descending);

        ReferenceMatrix diagonal = new(n, n);
        for (int i = 0; i < n; i++)
        {
            diagonal[i, i] = scale * values[i];
        }

        ReferenceMatrix residual = (vectors.T * diagonal * vectors) + (-scale * a);
        ReferenceMatrix orthogonality = (vectors * vectors.T) + (-1.0 * ReferenceMatrix.Identity(n));
        Expect.AtMost(Expect.Norm(residual.Elements), tolerance * n, "A - V^T diag V");
        Expect.AtMost(Expect.Norm(orthogonality.Elements), tolerance * n, "V V^T - 1");

        Matrix<double> judge = Matrix<double>.Build.DenseOfRowMajor(n, n, (scale * a).Elements);
        double[] expected = [.. judge.Evd(Symmetricity.Symmetric).EigenValues.Select(value => value.Real).OrderDescending()];
        for (int i = 0; i < n; i++)
        {
            Assert.That(scale * values[i], Is.EqualTo(expected[i]).Within(tolerance * n), $"eigenvalue {i}");
        }
    }
}
