// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

// The objective for N <= d, in N x N matrices: no product as wide as d for the component branch.
//            A = q X^T,   K = X X^T = W Lambda W^T,   Q = W_m W_m^T,   logits s (A + b 1^T) and s (A Q + b 1^T) diag(r)
// Backward   E1 = D_g + D_c Q,   dq = E1 X + (D_g 1 + D_c 1) mu^T,   dk = E1^T q + E2 X + (1/N) 1 (q^T D_c 1)^T
//   exact    E2 = W Z W^T,  Sh = (D_c W)^T (A W)           (2 Z of ProjectionCpu; W's rows are centred, which is the H of the mean)
//   stopped  E1 of dk without D_c Q;  E2 = H D_c^T A W_k Lambda_k^-1 W_k^T, k the directions that are defined
//   cosine   D_c stands for D_c diag(r) and u' loses g_j u'_j,  g_j = r_j^2 sum_i D_ij (A Q + b 1^T)_ij:
//            Sh -= W^T diag(g) (u' X^T) W,  E2 -= Q diag(g) Q,  and rank-one terms along mu
//   without gatherWithGrad, D is its row part in dq and its column part in dk.
// Source     HiMo-CLIP (arXiv:2511.06653); the form is derived in docs/design.md.
public sealed partial class TrainingStep
{
    private unsafe void RunGram(ref Frame frame)
    {
        int n = frame.Rows;
        int d = frame.Columns;
        nint stride = LogitTile.StrideFor(n);
        float* a = _workspace.Floats(n, stride);
        GemmStrips products = new()
        {
            Pool = _pool, M = n, N = n, K = d, A = frame.UnitQueries, ARow = d, AColumn = 1, B = frame.Centered, BRow = 1, BColumn = d, C = a, CRow = stride,
        };
        LogitTile globalTile = new((nint)a, stride, 0, n, 0, n);
        LogitTile componentTile = default;
        float* aw = null;
        float* meanAlong = null;           // t = W X mu
        if (HasComponent)
        {
            bool all = frame.GradKeys != null && IsExact;
            frame.Components = _axes.Decompose(_workspace, _workspace, frame.Batch, _options.Tau, all, products, products.Tasks);
            PrincipalComponents components = frame.Components;
            int needed = all ? n : components.M;
            aw = _workspace.Floats(n, n);
            Gemm.Multiply(_pool, n, needed, n, 1.0f, a, stride, 1, components.Vectors, 1, n, 0.0f, aw, n);
            float* c = _workspace.Floats(n, stride);
            Gemm.Multiply(_pool, n, n, components.M, 1.0f, aw, n, 1, components.Vectors, n, 1, 0.0f, c, stride);
            componentTile = new((nint)c, stride, 0, n, 0, n);
            float* r = null;
            if (IsCosine)
            {
                meanAlong = _workspace.Floats(n);
                r = GramCosineScale(frame, meanAlong);
            }

            frame.Component = Begin(frame, _options.Lambda, IsCosine ? frame.Bias : frame.RelativeBias, r);
            frame.Component.Accumulate(_pool, componentTile, columnDirection: true);
            (double rows, double columns) = frame.Component.Finish(columnDirection: true);
            frame.ComponentLoss = 0.5 * (rows + columns);
        }
        else
        {
            _pool.Run(ref products, products.Tasks);
        }

        if (HasGlobal)
        {
            frame.Global = Begin(frame, _options.GlobalWeight, frame.RelativeBias, null);
            frame.Global.Accumulate(_pool, globalTile, columnDirection: true);
            (double rows, double columns) = frame.Global.Finish(columnDirection: true);
            frame.GlobalLoss = 0.5 * (rows + columns);
        }

        if (frame.WantsGradient)
        {
            GramBackward(ref frame, globalTile, componentTile, aw, meanAlong);
        }
    }

    private unsafe void GramBackward(ref Frame frame, LogitTile globalTile, LogitTile componentTile, float* aw, float* meanAlong)
    {
        int n = frame.Rows;
        nint stride = globalTile.Stride;
        bool split = !_options.GatherWithGrad;
        float* forQueries = globalTile.Pointer;           // E1 of dq
        float* forKeys = split ? _workspace.Floats(n, stride) : forQueries;
        if (HasGlobal)
        {
            frame.Global.Gradient(_pool, globalTile, split ? forKeys : null);
        }

        // Stopped: D_c Q is no part of dk.
        float* dw = null;
        float* columnPart = null;
        bool hasKeyGradient = HasGlobal && (!HasComponent || !IsExact);
        if (hasKeyGradient)
        {
            GramKeyGradient(frame, forKeys, stride);
        }

        if (HasComponent)
        {
            columnPart = split ? _workspace.Floats(n, stride) : componentTile.Pointer;
            frame.Component.Gradient(_pool, componentTile, split ? columnPart : null);
            dw = GramAddComponent(frame, componentTile, columnPart, forQueries, forKeys);
        }
        else if (!HasGlobal)
        {
            new Span<float>(forQueries, checked((int)(n * stride))).Clear();
        }

        if (frame.GradQueries != null)
        {
            Gemm.Multiply(_pool, n, frame.Columns, n, 1.0f, forQueries, stride, 1, frame.Centered, frame.Columns, 1, 0.0f, frame.GradQueries, frame.Columns);
        }

        if (frame.GradKeys == null)
        {
            return;
        }

        if (!hasKeyGradient && (IsExact || !HasComponent))
        {
            GramKeyGradient(frame, forKeys, stride);
            hasKeyGradient = true;
        }

        if (HasComponent)
        {
            GramBasis basis = new() { Aw = aw, Dw = dw, ColumnPart = columnPart, Stride = stride, MeanAlong = meanAlong };
            GramBasisGradient(ref frame, ref basis, hasKeyGradient ? 1.0f : 0.0f);
        }
    }

    // E1 += D_c Q where it belongs; returns D_c W of the keys' part, all columns where Sh needs them.
    private unsafe float* GramAddComponent(in Frame frame, LogitTile tile, float* columnPart, float* forQueries, float* forKeys)
    {
        int n = frame.Rows;
        int m = frame.Components.M;
        float* vectors = frame.Components.Vectors;
        bool split = columnPart != tile.Pointer;
        bool coupled = frame.GradKeys != null && IsExact;
        float beta = HasGlobal ? 1.0f : 0.0f;             // without a global branch E1 begins at 0
        float* dw = null;
        if (coupled || !split)
        {
            dw = _workspace.Floats(n, n);
            Gemm.Multiply(_pool, n, coupled ? n : m, n, 1.0f, columnPart, tile.Stride, 1, vectors, 1, n, 0.0f, dw, n);
        }

        if (frame.GradQueries != null || (coupled && !split))
        {
            float* rowDw = dw;
            if (split)
            {
                rowDw = _workspace.Floats(n, n);
                Gemm.Multiply(_pool, n, m, n, 1.0f, tile.Pointer, tile.Stride, 1, vectors, 1, n, 0.0f, rowDw, n);
            }

            Gemm.Multiply(_pool, n, n, m, 1.0f, rowDw, n, 1, vectors, n, 1, beta, forQueries, tile.Stride);
        }

        if (coupled && split)
        {
            Gemm.Multiply(_pool, n, n, m, 1.0f, dw, n, 1, vectors, n, 1, beta, forKeys, tile.Stride);
        }

        return dw;
    }

    // dk = E1^T q
    private unsafe void GramKeyGradient(in Frame frame, float* e1, nint stride)
    {
        if (frame.GradKeys != null)
        {
            Gemm.Multiply(_pool, frame.Rows, frame.Columns, frame.Rows, 1.0f, e1, 1, stride, frame.UnitQueries, frame.Columns, 1, 0.0f, frame.GradKeys, frame.Columns);
        }
    }
}
