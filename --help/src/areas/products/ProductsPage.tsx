import { Package } from 'lucide-react';
import { Card } from '@/components/Card';
import { Modal } from '@/components/Modal';
import { PageHeader } from '@/components/PageHeader';
import { Search } from '@/components/Search';
import { Skeleton } from '@/components/Skeleton';
import { Stat } from '@/components/Stat';
import { TabView } from '@/components/TabView';
import { useRows } from '@/hooks/useRows';
import { useSearch } from '@/hooks/useSearch';
import { formatMoney } from '@/lib/format';
import { ProductsChart } from './ProductsChart';
import { ProductsForm } from './ProductsForm';
import { ProductsTable } from './ProductsTable';

export function ProductsPage() {
  const { data = [], isPending } = useRows('products');
  const rows = useSearch(data);
  const total = rows.reduce((sum, row) => sum + row.amount, 0);
  if (isPending) return <Skeleton lines={8} />;
  return (
    <>
      <PageHeader title="Products" note="Everything about your products">
        <Modal title="New entry">
          <ProductsForm />
        </Modal>
      </PageHeader>
      <div className="grid grid-cols-1 gap-4 sm:grid-cols-3">
        <Stat name="Total" value={formatMoney(total)} change={4} />
        <Stat name="Entries" value={String(rows.length)} change={-2} />
        <Stat name="Done" value={String(rows.filter((row) => row.status === 'done').length)} change={9} />
      </div>
      <Card title="Products by month">
        <Package className="mb-2 text-brand" size={18} />
        <ProductsChart rows={rows} />
      </Card>
      <TabView tabs={{ Table: <ProductsTable rows={rows} />, Search: <Search /> }} />
    </>
  );
}

export default ProductsPage;
