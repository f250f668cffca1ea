import { lazy, Suspense } from 'react';
import { Route, Routes } from 'react-router-dom';
import { OverviewPage } from '@/areas/overview/OverviewPage';
import { Empty } from '@/components/Empty';
import { Layout } from '@/components/Layout';
import { Skeleton } from '@/components/Skeleton';

const OrdersPage = lazy(() => import('@/areas/orders/OrdersPage'));
const CustomersPage = lazy(() => import('@/areas/customers/CustomersPage'));
const ProductsPage = lazy(() => import('@/areas/products/ProductsPage'));
const InvoicesPage = lazy(() => import('@/areas/invoices/InvoicesPage'));
const CampaignsPage = lazy(() => import('@/areas/campaigns/CampaignsPage'));
const TicketsPage = lazy(() => import('@/areas/tickets/TicketsPage'));
const ReportsPage = lazy(() => import('@/areas/reports/ReportsPage'));

export default function App() {
  return (
    <Layout>
      <Suspense fallback={<Skeleton lines={6} />}>
        <Routes>
          <Route path="/" element={<OverviewPage />} />
          <Route path="/orders" element={<OrdersPage />} />
          <Route path="/customers" element={<CustomersPage />} />
          <Route path="/products" element={<ProductsPage />} />
          <Route path="/invoices" element={<InvoicesPage />} />
          <Route path="/campaigns" element={<CampaignsPage />} />
          <Route path="/tickets" element={<TicketsPage />} />
          <Route path="/reports" element={<ReportsPage />} />
          <Route path="*" element={<Empty text="There is no such page" />} />
        </Routes>
      </Suspense>
    </Layout>
  );
}
