// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// HiDe on float32 views, G groups of N x d, computed by the float64 reference. The caller has checked every argument.
internal sealed class HiDeCpu(double tau, BasisGradient basisGradient, int threads) : IDisposable
{
    private HiDeReferenceState[] _states = [];
    private HiDeResult[] _results = [];
    private float[][] _spectra = [];

    /// <summary>Of the last forward pass, one a group.</summary>
    public ReadOnlySpan<HiDeResult> Results => _results;

    public int Threads { get; } = threads;

    public ReadOnlySpan<float> Spectrum(int group) => _spectra[group];

    public void Forward(ReadOnlyMatrixView texts, int groups, MatrixView components)
    {
        int rows = texts.Rows / groups;
        ReferenceMatrix wide = ReferenceMatrix.Widen(texts);
        _states = [.. Enumerable.Range(0, groups).Select(group => HiDeReference.Forward(wide.Slice(group * rows, rows), tau))];
        _results = [.. _states.Select(state => state.Result)];
        _spectra = [.. _states.Select(state => state.Values.Select(value => (float)value).ToArray())];
        for (int group = 0; group < groups; group++)
        {
            _states[group].Components.Narrow(Group(components, group, rows));
        }
    }

    public void Backward(ReadOnlyMatrixView texts, ReadOnlyMatrixView gradComponents, MatrixView gradTexts)
    {
        int rows = texts.Rows / _states.Length;
        ReferenceMatrix wide = ReferenceMatrix.Widen(gradComponents);
        for (int group = 0; group < _states.Length; group++)
        {
            HiDeReference.Backward(_states[group], wide.Slice(group * rows, rows), basisGradient).Narrow(Group(gradTexts, group, rows));
        }
    }

    public void Dispose() => _states = [];

    private static MatrixView Group(MatrixView matrix, int group, int rows) =>
        new(matrix.Elements.Slice(group * rows * matrix.Columns, rows * matrix.Columns), rows, matrix.Columns);
}
