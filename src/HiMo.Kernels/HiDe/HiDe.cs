// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// Hierarchical decomposition of a batch: each group of N rows is rebuilt from its mean and its leading principal components,
/// u' = X Pᵀ P + 1 μᵀ with X the centred rows and P the fewest directions that explain a share tau of their variance. Groups are
/// independent of each other. Keeps its workspace from call to call. One instance serves one caller at a time.
/// Source: HiMo-CLIP (arXiv:2511.06653), equation 1; like the authors' code it takes unit rows and leaves u' unscaled.
/// </summary>
/// <example>
/// <code>
/// const int Groups = 2, Rows = 4, Width = 8;
/// float[] features = [.. Enumerable.Range(0, Groups * Rows * Width).Select(i =&gt; MathF.Sin(i * i))];
/// float[] texts = new float[features.Length];
/// float[] components = new float[features.Length];
/// float[] gradTexts = new float[features.Length];
/// L2Normalize.Forward(new ReadOnlyMatrixView(features, Groups * Rows, Width), new MatrixView(texts, Groups * Rows, Width));
///
/// using HiDe hide = new(tau: 0.9);
/// ReadOnlyMatrixView rows = new(texts, Groups * Rows, Width);
/// hide.Forward(rows, Groups, new MatrixView(components, Groups * Rows, Width));
/// Console.WriteLine($"m = {hide.Results[0].M} and {hide.Results[1].M}, largest eigenvalue {hide.Spectrum(0)[0]}");
///
/// float[] gradComponents = [.. components.Select(value =&gt; 2f * value)]; // of the loss: sum of squares of u'
/// hide.Backward(rows, new ReadOnlyMatrixView(gradComponents, Groups * Rows, Width), new MatrixView(gradTexts, Groups * Rows, Width));
/// </code>
/// </example>
public sealed partial class HiDe : IDisposable
{
    private readonly HiDeCpu _cpu;
    private readonly double _tau;
    private readonly BasisGradient _basisGradient;
    private MatrixShape _shape;
    private int _groups;
    private bool _isDisposed;

    /// <summary>Prepares a decomposition.</summary>
    /// <param name="tau">Share of the variance that the kept components must reach; in (0, 1].</param>
    /// <param name="basisGradient">Whether <see cref="Backward(ReadOnlyMatrixView, ReadOnlyMatrixView, MatrixView)"/> differentiates the principal directions or holds them constant; the mean
    /// is always differentiated.</param>
    /// <param name="threads">Worker threads; 0 takes one per processor. The result does not depend on it, bit for bit.</param>
    /// <exception cref="ArgumentException">A value is outside its range; the message gives it.</exception>
    public HiDe(double tau = 0.9, BasisGradient basisGradient = BasisGradient.Exact, int threads = 0)
    {
        Guard.That(tau is > 0.0 and <= 1.0, tau, "must be in (0, 1]");
        Guard.That(Enum.IsDefined(basisGradient), basisGradient, "is no BasisGradient");
        Guard.That(threads >= 0, threads, "must be 0 or more");
        _tau = tau;
        _basisGradient = basisGradient;
        _cpu = new HiDeCpu(tau, basisGradient, threads);
    }

    /// <summary>What the last <see cref="Forward(ReadOnlyMatrixView, int, MatrixView)"/> found, one entry a group; empty before it. Valid until the next one.</summary>
    public ReadOnlySpan<HiDeResult> Results => _cpu.Results[.._groups];

    /// <summary>Rebuilds every group from its leading components.</summary>
    /// <param name="texts">(groups x N) x d rows, group after group, finite; unit rows in HiMo-CLIP. N >= 1, d >= 1.</param>
    /// <param name="groups">Number G of groups, 1 or more; divides the number of rows.</param>
    /// <param name="components">Receives u', (groups x N) x d; must not overlap <paramref name="texts"/>.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, matrices overlap, or texts holds NaN or infinity (the message names row and
    /// column); nothing was written then.</exception>
    /// <exception cref="ObjectDisposedException">The instance was disposed.</exception>
    public void Forward(ReadOnlyMatrixView texts, int groups, MatrixView components)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        Guard.That(groups >= 1, groups, "must be 1 or more");
        Guard.That(!texts.IsEmpty && texts.Rows % groups == 0, texts.Shape, $"must have at least one row, one column and a multiple of {groups} rows", nameof(texts));
        Guard.Shape(components.Shape, texts.Shape);
        Guard.Apart(components, texts);
        if (!_cpu.IsFinite(texts))
        {
            Guard.Finite(texts);
        }

        _cpu.Forward(texts, groups, components);
        _shape = texts.Shape;
        _groups = groups;
    }

    /// <summary>
    /// dL/dtexts from dL/du', for the texts of the last <see cref="Forward(ReadOnlyMatrixView, int, MatrixView)"/>. With the exact basis gradient only differences between
    /// kept and dropped eigenvalues are divided by; a pair that ties at the cut contributes nothing, because the kept subspace is not
    /// defined there.
    /// </summary>
    /// <param name="texts">The rows that <see cref="Forward(ReadOnlyMatrixView, int, MatrixView)"/> was given last, unchanged.</param>
    /// <param name="gradComponents">dL/du', (groups x N) x d, finite.</param>
    /// <param name="gradTexts">Receives dL/dtexts, (groups x N) x d; must overlap neither input.</param>
    /// <exception cref="ArgumentException">Shapes differ from those of the last forward pass, matrices overlap, or an input holds NaN or
    /// infinity (the message names row and column); nothing was written then.</exception>
    /// <exception cref="InvalidOperationException">There was no forward pass.</exception>
    /// <exception cref="ObjectDisposedException">The instance was disposed.</exception>
    public void Backward(ReadOnlyMatrixView texts, ReadOnlyMatrixView gradComponents, MatrixView gradTexts)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (_groups == 0)
        {
            throw new InvalidOperationException("HiDe.Backward: there was no forward pass; call Forward first.");
        }

        Guard.Shape(texts.Shape, _shape, wantedName: "in the last forward pass");
        Guard.Shape(gradComponents.Shape, _shape, wantedName: "in the last forward pass");
        Guard.Shape(gradTexts.Shape, _shape, wantedName: "in the last forward pass");
        Guard.Apart(gradTexts, texts);
        Guard.Apart(gradTexts, gradComponents);
        if (!_cpu.IsFinite(texts))
        {
            Guard.Finite(texts);
        }

        if (!_cpu.IsFinite(gradComponents))
        {
            Guard.Finite(gradComponents);
        }

        _cpu.Backward(texts, gradComponents, gradTexts);
    }

    /// <summary>Eigenvalues of a group's centred rows (squared singular values), descending, min(N, d) of them. Valid until the next
    /// <see cref="Forward(ReadOnlyMatrixView, int, MatrixView)"/>.</summary>
    /// <param name="group">From 0 to the last forward pass's number of groups - 1.</param>
    /// <exception cref="ArgumentException">There is no such group.</exception>
    public ReadOnlySpan<float> Spectrum(int group)
    {
        Guard.That(group >= 0 && group < _groups, group, $"must be from 0 to {_groups - 1}");
        return _cpu.Spectrum(group);
    }

    /// <summary>Frees the workspace and the worker threads.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        _groups = 0;
        _cpu.Dispose();
    }
}
