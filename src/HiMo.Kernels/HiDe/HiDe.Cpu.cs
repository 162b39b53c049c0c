// SPDX-License-Identifier: Apache-2.0
using System.Numerics.Tensors;

namespace HiMo.Kernels;

// HiDe on float32 views, G groups of N x d. The caller has checked every argument.
// Mapping    from as many groups as threads on, a group is a task and its products run on one thread; fewer groups come one after the
//            other and share all threads. The bits are the same.
// Memory     a group keeps X and its eigensystem for Backward; a thread has workspace for one group.
internal sealed unsafe class HiDeCpu : IDisposable
{
    private readonly double _tau;
    private readonly BasisGradient _basisGradient;
    private readonly WorkerPool _pool;
    private readonly Workspace[] _temporary;
    private readonly PrincipalAxes[] _axes;
    private Workspace[] _kept = [];
    private HiDeGroup[] _groups = [];
    private HiDeResult[] _results = [];

    public HiDeCpu(double tau, BasisGradient basisGradient, int threads)
    {
        _tau = tau;
        _basisGradient = basisGradient;
        _pool = new WorkerPool(threads);
        _temporary = new Workspace[_pool.Threads];
        _axes = new PrincipalAxes[_pool.Threads];
        for (int thread = 0; thread < _pool.Threads; thread++)
        {
            _temporary[thread] = new Workspace();
            _axes[thread] = new PrincipalAxes(_pool);
        }
    }

    /// <summary>Of the last forward pass, one a group.</summary>
    public ReadOnlySpan<HiDeResult> Results => _results;

    public ReadOnlySpan<float> Spectrum(int group) => new(_groups[group].Components.Values, _groups[group].Components.Size);

    public void Forward(ReadOnlyMatrixView texts, int groups, MatrixView components)
    {
        if (_groups.Length != groups)
        {
            Array.ForEach(_kept, workspace => workspace.Dispose());
            _kept = new Workspace[groups];
            for (int group = 0; group < groups; group++)
            {
                _kept[group] = new Workspace();
            }

            _groups = new HiDeGroup[groups];
            _results = new HiDeResult[groups];
        }

        fixed (float* from = texts.Elements, to = components.Elements)
        {
            GroupWork work = new() { Owner = this, Texts = from, Result = to, Rows = texts.Rows / groups, Columns = texts.Columns };
            Run(ref work, groups);
        }
    }

    public void Backward(ReadOnlyMatrixView texts, ReadOnlyMatrixView gradComponents, MatrixView gradTexts)
    {
        fixed (float* from = gradComponents.Elements, to = gradTexts.Elements)
        {
            GroupWork work = new() { Owner = this, IsBackward = true, Texts = from, Result = to, Rows = texts.Rows / _groups.Length, Columns = texts.Columns };
            Run(ref work, _groups.Length);
        }
    }

    /// <summary>Whether every element is a finite number.</summary>
    public bool IsFinite(ReadOnlyMatrixView matrix)
    {
        int found = 0;
        fixed (float* elements = matrix.Elements)
        {
            FiniteWork work = new() { Elements = elements, Rows = matrix.Rows, Columns = matrix.Columns, Found = &found };
            _pool.Run(ref work, RowBlocks.Count(matrix.Rows, matrix.Columns));
        }

        return found == 0;
    }

    public void Dispose()
    {
        Array.ForEach(_kept, workspace => workspace.Dispose());
        Array.ForEach(_temporary, workspace => workspace.Dispose());
        Array.ForEach(_axes, axes => axes.Dispose());
        _pool.Dispose();
    }

    private void Run(ref GroupWork work, int groups)
    {
        if (groups >= _pool.Threads)
        {
            _pool.Run(ref work, groups);
            return;
        }

        for (int group = 0; group < groups; group++)
        {
            work.Run(group, 0);
        }
    }

    private struct GroupWork : IParallelWork
    {
        public HiDeCpu Owner;
        public bool IsBackward;
        public float* Texts;               // or the gradient of u'
        public float* Result;
        public int Rows;
        public int Columns;

        public readonly void Run(int task, int thread)
        {
            Workspace temporary = Owner._temporary[thread];
            temporary.Reset();
            nint start = (nint)task * Rows * Columns;
            if (IsBackward)
            {
                BackwardGroup(ref Owner._groups[task], temporary, Texts + start, Result + start);
                return;
            }

            Workspace kept = Owner._kept[task];
            kept.Reset();
            HiDeGroup group = HiDeGroup.Center(Owner._pool, kept, Texts + start, Rows, Columns, null);
            group.Forward(Owner._pool, kept, temporary, Owner._axes[thread], Owner._tau, Owner._basisGradient == BasisGradient.Exact, Result + start);
            ExplainedRank cut = group.Components.Cut;
            Owner._groups[task] = group;
            Owner._results[task] = new HiDeResult(cut.M, cut.Share, cut.RelativeGap, cut.Warnings(Rows, Columns));
        }

        private readonly void BackwardGroup(ref HiDeGroup group, Workspace temporary, float* grad, float* gradTexts)
        {
            double* constant = group.Backward(Owner._pool, temporary, grad, Owner._basisGradient, 0.0f, gradTexts);
            Span<double> minus = new(constant, Columns);
            TensorPrimitives.Negate(minus, minus);
            for (int i = 0; i < Rows; i++)
            {
                float* row = gradTexts + ((nint)i * Columns);
                WideRows.Center(row, 1.0, constant, row, Columns);
            }
        }
    }

    private struct FiniteWork : IParallelWork
    {
        public float* Elements;
        public int Rows;
        public int Columns;
        public int* Found;

        public readonly void Run(int task, int thread)
        {
            (int from, int to) = RowBlocks.Range(task, Rows, Columns);
            if (!TensorPrimitives.IsFiniteAll(new ReadOnlySpan<float>(Elements + ((nint)from * Columns), (to - from) * Columns)))
            {
                *Found = 1;
            }
        }
    }
}
