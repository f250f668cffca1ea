import { ChartPie, LayoutDashboard, LifeBuoy, Megaphone, Package, Receipt, ShoppingCart, Users } from 'lucide-react';

export const navigation = [
  { to: '/', name: 'Overview', icon: LayoutDashboard },
  { to: '/orders', name: 'Orders', icon: ShoppingCart },
  { to: '/customers', name: 'Customers', icon: Users },
  { to: '/products', name: 'Products', icon: Package },
  { to: '/invoices', name: 'Invoices', icon: Receipt },
  { to: '/campaigns', name: 'Campaigns', icon: Megaphone },
  { to: '/tickets', name: 'Tickets', icon: LifeBuoy },
  { to: '/reports', name: 'Reports', icon: ChartPie },
];
